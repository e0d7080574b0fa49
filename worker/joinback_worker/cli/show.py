"""How the command shows text that came from elsewhere."""

import click
from rich.markup import escape

from joinback_worker.sinks.place import warning


def printable(text: str, *, markup: bool = True) -> str:
    """Safe for a terminal: control characters and direction marks are escaped, rich's markup is taken literally."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return escape(plain) if markup else plain


def warn_of_path(sink_url: str) -> None:
    """Tell on stderr where a relative path leads."""
    if told := warning(sink_url):
        click.echo(f"joinback: {printable(told, markup=False)}", err=True)
