"""Lines of the `joinback` command, as messages name them for a person to copy."""

import shlex
from collections.abc import Sequence


def command_line(command: str, *arguments: str, options: Sequence[str] = ()) -> str:
    """Return `joinback`, this command, its arguments and its options, quoted for a shell.

    An argument that begins with `-` would be read as an option, so the arguments come last then, behind `--`.
    """
    if any(argument.startswith("-") for argument in arguments):
        words = [*options, "--", *arguments]
    else:
        words = [*arguments, *options]
    return f"joinback {command} {shlex.join(words)}"
