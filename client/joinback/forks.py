"""State that belongs to one process, and is renewed in each forked child, whoever forked it.

`os.register_at_fork` notices only forks by Python. `here` notices the others too, such as uWSGI's workers and mules and
forks by a C extension: it is a page of memory that the kernel empties in a child, and every call of the client looks at
it. That costs a tenth of `os.getpid()`, which is used where the kernel cannot do it (Linux before 4.14, macOS).
"""

import gc
import mmap
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MADV_WIPEONFORK = 18
"""Linux's number; Python's mmap has no name for it."""


class _Pid:
    """A stand-in for the page: item 0 is 1 in the process that set it, and 0 in its children."""

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
    # The system or its kernel has no such flag or method.
    except (OSError, AttributeError, TypeError, ValueError):
        return _Pid()
    return page


here = _mark()
"""`here[0]` is 0 in a forked child that has not called `begin` yet. Each event reads it directly, to save a call."""
here[0] = 1

_owners: "list[weakref.ref[Callable[[], None]]]" = []
_locks: dict[int, threading.RLock] = {}
"""Pid -> its lock. In a child, the lock of its parent may be held for ever."""


def renewed_in_children(method: Callable[[], None]) -> None:
    """Register a function that each forked child calls first. A bound method does not keep its object alive."""
    # Drop those that are gone: a process that makes clients all day must not fill the list.
    _owners[:] = [reference for reference in _owners if reference() is not None]
    _owners.append(weakref.WeakMethod(method) if hasattr(method, "__self__") else weakref.ref(method))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no signal handler and no collection of garbage interrupt this thread: either may log.

    Half of the state is the parent's meanwhile, and what they log would be forgotten with it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before, collects = signal.pthread_sigmask(signal.SIG_BLOCK, ()), gc.isenabled()
    try:
        # Handlers of signals that came before run within this call, and may raise.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        gc.disable()
        yield
    finally:
        if collects:
            gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin() -> None:
    """Renew the state if this process is a forked child that has not done so. Any thread may call it, at any time."""
    if here[0]:
        return
    with _uninterrupted(), _locks.setdefault(os.getpid(), threading.RLock()):
        # Another thread was first; or a signal handler of this one, just before it could no longer come.
        if here[0]:
            return
        for reference in list(_owners):
            if (method := reference()) is not None:
                method()
        # Last: until then another thread must not use the parent's state.
        here[0] = 1


if hasattr(os, "register_at_fork"):
    # Correct without it; with it, a child that never logs still closes its copies of its parent's files at once.
    os.register_at_fork(after_in_child=begin)
