"""How the command shows text that came from elsewhere."""

from rich.markup import escape


def printable(text: str, *, markup: bool = True) -> str:
    """Safe for a terminal: control characters and direction marks are escaped, rich's markup is taken literally."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return escape(plain) if markup else plain
