"""The arguments of the command, as the shell gave them."""

import os
from collections.abc import Sequence

from joinback.errors import JoinbackError


def check_text(arguments: Sequence[str]) -> None:
    """Raise JoinbackError for the first argument that is not UTF-8.

    All commands need this: names, keys and values go to Redis and into sinks as UTF-8, and into JSON.
    """
    for number, argument in enumerate(arguments, 1):
        # Python keeps bytes that are not UTF-8 as halves of surrogate pairs, which no encoder takes.
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            given = os.fsencode(argument).decode(errors="backslashreplace")
            raise JoinbackError(f"argument {number} is not text in UTF-8: {given}")
