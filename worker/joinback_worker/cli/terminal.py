"""The terminal that commands print to."""

from rich.console import Console


def terminal(*, stderr: bool = False) -> Console:
    """Return a console. It leaves `:b:` in a name as it is, which rich would else replace by an emoji."""
    return Console(stderr=stderr, emoji=False)
