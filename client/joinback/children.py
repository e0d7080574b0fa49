"""What a child process that was spawned, not forked, does not inherit: what its parent said to `init`.

multiprocessing's spawn and forkserver (the default from Python 3.14 on) and loky start their children anew, so a
child configures itself from the environment: another Redis, no redaction. It cannot be given what is a function
or a password; so the names alone of what was given stand in the environment, and the child says what it lacks.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from . import log
from .urls import shown_url

_GIVEN = "_JOINBACK_INIT"
"""Not JOINBACK_…: it is no setting. The process and the arguments' names only, since values may be secret."""
_VARIABLES = {"credentials": "JOINBACK_REDIS_CREDENTIALS"}
"""What says the same as an argument of another name."""


def tell_children(given: Mapping[str, object]) -> None:
    """Remember which arguments this process gave to `init`."""
    names = [name for name, value in given.items() if value]
    if names:
        os.environ[_GIVEN] = f"{os.getpid()}:{','.join(names)}"
    elif os.environ.get(_GIVEN, "").startswith(f"{os.getpid()}:"):
        del os.environ[_GIVEN]


def inherited() -> list[str]:
    """Which arguments the process gave that made this one by multiprocessing or its like."""
    # Not imported before: then nobody made a process by it.
    process = sys.modules.get("multiprocessing.process")
    parent = None if process is None else process.parent_process()
    pid, _, names = os.environ.get(_GIVEN, "").partition(":")
    return names.split(",") if parent is not None and pid == str(parent.pid) else []


def say_what_is_missing(names: Sequence[str], redis_url: str) -> None:
    """Warn if this process is configured from the environment alone, while its parent was by `init`."""
    missing = [name for name in names if _VARIABLES.get(name, f"JOINBACK_{name.upper()}") not in os.environ]
    if missing:
        log.warning(
            "joinback: the parent process called joinback.init(%s), which a spawned child does not inherit; "
            "here events go to %s. Call joinback.init() in the child too, or set JOINBACK_ variables",
            ", ".join(f"{name}=…" for name in missing),
            shown_url(redis_url),
        )
