"""What uWSGI asks of who starts threads in it: its module is there only inside it.

uWSGI's master loads the service and forks its workers without asking the interpreter. A thread that runs at that
moment may hold the interpreter's lock, and the worker then waits for it for ever. So there is none in the master:
what is logged at import waits, and the first worker delivers it.
"""

import re
import sys
from typing import Any

RUNS_THREADS = (2, 0, 27)
"""Before this version no thread ran between requests, unless uWSGI was told to let it."""
HEIR = 1
"""The number of the worker that delivers what the master logged."""


def here() -> Any:
    """Return uWSGI's own module; None outside uWSGI."""
    return sys.modules.get("uwsgi")


def is_before_fork(uwsgi: Any) -> bool:
    """Whether this is the master, whose workers and mules are still to be forked."""
    return uwsgi is not None and "master" in uwsgi.opt and uwsgi.worker_id() == 0 and uwsgi.mule_id() == 0


def is_heir(uwsgi: Any) -> bool:
    """Whether this worker is the one that delivers what the master logged."""
    return uwsgi is not None and uwsgi.worker_id() == HEIR


def advice(uwsgi: Any) -> str | None:
    """What to tell of a uWSGI in which no thread of ours runs between requests; None if one does."""
    version = getattr(uwsgi, "version", None)
    if version is None or "enable-threads" in uwsgi.opt or "threads" in uwsgi.opt:
        return None
    numbers = re.match(rb"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) >= RUNS_THREADS:
        return None
    return "this uWSGI runs no threads, so events wait until it ends; start it with --enable-threads"
