"""What belongs to one process, and begins anew in each child of it, whoever forked.

`os.register_at_fork` sees Python's own forks only. uWSGI's workers and mules and the fork of a C extension are
seen by `here`, which every call of the client asks: a page of memory that the kernel empties in a child. It costs
a tenth of `os.getpid()`, which is asked where the kernel cannot do that (Linux before 4.14, macOS).
"""

import mmap
import os
import threading
import weakref
from collections.abc import Callable

_MADV_WIPEONFORK = 18
"""Linux's number; Python's mmap has no name for it."""


class _Pid:
    """The page's stand-in: item 0 is 1 in the process that set it, and 0 in its children."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, _: int) -> int:
        return int(os.getpid() == self._pid)

    def __setitem__(self, _: int, __: int) -> None:
        self._pid = os.getpid()


def _mark() -> mmap.mmap | _Pid:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    # No such flag or method: another system, or a kernel that knows neither.
    except (OSError, AttributeError, TypeError, ValueError):
        return _Pid()
    return page


here = _mark()
"""`here[0]` is 0 in a process that has not begun: then call `begin`. Read as it is, without a call, by each event."""
here[0] = 1

_owners: "list[weakref.ref[Callable[[], None]]]" = []
_locks: dict[int, threading.Lock] = {}
"""By pid: a lock of the parent's may be held for ever in its child."""


def renewed_in_children(method: Callable[[], None]) -> None:
    """Call this in a child before anything else is done there; a bound method goes with its object."""
    # Each look at the list ends those that are gone: who makes clients all day leaves nothing behind.
    _owners[:] = [reference for reference in _owners if reference() is not None]
    _owners.append(weakref.WeakMethod(method) if hasattr(method, "__self__") else weakref.ref(method))


def begin() -> None:
    """Begin anew if this process is a child that has not yet. Any thread may call it, as often as it likes."""
    with _locks.setdefault(os.getpid(), threading.Lock()):
        if here[0]:
            return
        for reference in list(_owners):
            if (method := reference()) is not None:
                method()
        # Last: another thread must not go on with what is still its parent's.
        here[0] = 1


if hasattr(os, "register_at_fork"):
    # Not needed for what is right, but a child that never logs lets go of its parent's files at once.
    os.register_at_fork(after_in_child=begin)
