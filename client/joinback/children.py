"""A warning in spawned child processes, which do not inherit the arguments of their parent's `init`.

multiprocessing's spawn and forkserver (the default from Python 3.14 on) and loky start a new interpreter. The child
then configures itself from the environment: perhaps with another Redis, and without redaction. Functions and passwords
cannot be passed on to it. So the parent notes the names of its arguments in the environment, and the child warns.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from . import log
from .urls import shown_url

_GIVEN = "_JOINBACK_INIT"
"""Not JOINBACK_…, because it is not a setting. It holds the process and the arguments' names; values may be secret."""
_VARIABLES = {"credentials": "JOINBACK_REDIS_CREDENTIALS"}
"""Argument -> the variable for the same, where their names differ."""


def note_arguments(given: Mapping[str, object]) -> None:
    """Note for spawned children which arguments this process gave to `init`."""
    names = [name for name, value in given.items() if value]
    if names:
        os.environ[_GIVEN] = f"{os.getpid()}:{','.join(names)}"
    elif os.environ.get(_GIVEN, "").startswith(f"{os.getpid()}:"):
        del os.environ[_GIVEN]


def arguments_of_parent() -> list[str]:
    """Return the names of the arguments of the parent's `init`, if multiprocessing or loky started this process."""
    # Where it is not imported, it did not start this process.
    process = sys.modules.get("multiprocessing.process")
    parent = None if process is None else process.parent_process()
    pid, _, names = os.environ.get(_GIVEN, "").partition(":")
    return names.split(",") if parent is not None and pid == str(parent.pid) else []


def warn_of_missing(names: Sequence[str], redis_url: str) -> None:
    """Warn if the environment does not replace these arguments of the parent's `init`."""
    missing = [name for name in names if _VARIABLES.get(name, f"JOINBACK_{name.upper()}") not in os.environ]
    if missing:
        log.warning(
            "joinback: the parent process called joinback.init(%s), which a spawned child does not inherit; "
            "here events go to %s. Call joinback.init() in the child too, or set JOINBACK_ variables",
            ", ".join(f"{name}=…" for name in missing),
            shown_url(redis_url),
        )
