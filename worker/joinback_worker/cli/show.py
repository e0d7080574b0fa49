"""How commands show text that came from elsewhere."""

import re
from textwrap import fill

import click
from rich.markup import escape

from joinback_worker.sinks.place import warning


def printable(text: str, *, markup: bool = True) -> str:
    """Return the text, safe for a terminal: control characters, direction marks and rich's markup are escaped."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return escape(plain) if markup else plain


def folded(line: str, columns: int | None) -> str:
    """Return a line broken at blanks for a terminal of this width, the rest under the text of its first part.

    A line with a command stays whole, as it is to be copied. None: no terminal, so every line stays whole.
    """
    if columns is None or len(line) <= columns or _COMMAND.search(line):
        return line
    hang = " " * len(_MARK.match(line)[0])  # type: ignore[index]  # it matches nothing too
    return fill(line, columns, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)


_COMMAND = re.compile(r"\b(?:redis-cli|joinback) [a-z-]")
_MARK = re.compile(r" *(?:[!-] |(?:ok|FIX|LOOK) +\w+  |why: |do:  )?")


def warn_of_path(sink_url: str) -> None:
    """Warn on stderr of a relative path, and where it leads."""
    if line := warning(sink_url):
        click.echo(f"joinback: {printable(line, markup=False)}", err=True)
