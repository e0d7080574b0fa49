"""The terminal that commands draw on."""

from rich.console import Console


def terminal(*, stderr: bool = False) -> Console:
    """Return it, without rich's short names of emoji: of `a:b: lost` they would make another name's sign."""
    return Console(stderr=stderr, emoji=False)
