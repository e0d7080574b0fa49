"""How commands show text that came from elsewhere."""

import click
from rich.markup import escape

from joinback_worker.sinks.place import warning


def printable(text: str, *, markup: bool = True) -> str:
    """Return the text, safe for a terminal: control characters, direction marks and rich's markup are escaped."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return escape(plain) if markup else plain


def warn_of_path(sink_url: str) -> None:
    """Warn on stderr of a relative path, and where it leads."""
    if line := warning(sink_url):
        click.echo(f"joinback: {printable(line, markup=False)}", err=True)
