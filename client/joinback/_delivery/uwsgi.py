"""When a thread may start inside uWSGI. uWSGI's own module exists only there.

uWSGI's master loads the service and forks its workers without asking the interpreter. A thread that runs at that
moment may hold the interpreter's lock, and then the worker waits for that lock for ever. So no thread starts in the
master: events logged at import wait, and the first worker delivers them.
"""

import re
import sys
from typing import Any

RUNS_THREADS = (2, 0, 27)
"""Before this version threads ran between requests only with the option `enable-threads` or `threads`."""
HEIR = 1
"""The number of the worker that delivers the events of the master."""


def here() -> Any:
    """Return uWSGI's own module; None outside uWSGI."""
    return sys.modules.get("uwsgi")


def is_before_fork(uwsgi: Any) -> bool:
    """Return whether this is the master process, which forks the workers and mules."""
    return uwsgi is not None and "master" in uwsgi.opt and uwsgi.worker_id() == 0 and uwsgi.mule_id() == 0


def is_heir(uwsgi: Any) -> bool:
    """Return whether this worker delivers the events of the master."""
    return uwsgi is not None and uwsgi.worker_id() == HEIR


def advice(uwsgi: Any) -> str | None:
    """Return a line with the fix if no thread runs between requests in this uWSGI; else None."""
    version = getattr(uwsgi, "version", None)
    if version is None or "enable-threads" in uwsgi.opt or "threads" in uwsgi.opt:
        return None
    numbers = re.match(rb"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) >= RUNS_THREADS:
        return None
    return "this uWSGI runs no threads, so events wait until it ends; start it with --enable-threads"
