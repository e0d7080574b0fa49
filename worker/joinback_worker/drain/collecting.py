"""Switch Python's cycle collector off during a drain.

It would walk ten thousand records again and again, which takes a quarter of a drain's time, and no record is part of a
cycle.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

LOOK_MERGES = 50
"""After so many merges a drain collects cycles once. An error may leave a cycle that holds a batch, so it must not wait
for ever; a collection costs some 30 ms, little beside so many merges."""

_lock = Lock()
_drains: list[bool] = []
"""One item per drain under way: whether the collector was on before it."""


@contextmanager
def collector_held_back() -> Iterator[None]:
    """Switch the collector off for the length of the `with` block.

    Blocks may overlap: the last one to end switches it on again, if it was on before the first.
    """
    with _lock:
        _drains.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            was_on = _drains.pop()
            if _drains:
                # Drains do not end in the order in which they began; the last one must know if the collector was on.
                _drains[0] = _drains[0] or was_on
            elif was_on:
                gc.enable()
