"""The terminal that commands print to."""

from rich.console import Console


def terminal(*, stderr: bool = False) -> Console:
    """Return a console. It leaves `:b:` in a name as it is, which rich would else replace by an emoji."""
    return Console(stderr=stderr, emoji=False)


def columns() -> int | None:
    """Return the width of the terminal that standard output goes to; None if it goes elsewhere."""
    console = terminal()
    return console.width if console.is_terminal else None
