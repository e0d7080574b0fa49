"""The cycle collector, held back in a drain: it would look at ten thousand records over and over, a quarter of a
drain's time, and none of them is part of a cycle.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

LOOK_MERGES = 50
"""A cycle that trouble left behind holds a batch at worst; a look costs some 30 ms, and so little of so many merges."""

_lock = Lock()
_drains: list[bool] = []
"""For each drain that goes on, whether the collector was on before it."""


@contextmanager
def collector_held_back() -> Iterator[None]:
    """Switch it off for the length of the `with` block; blocks may overlap, and the last one switches it on again."""
    with _lock:
        _drains.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            was_on = _drains.pop()
            if _drains:
                # Whoever ends first is not who began first; who ends last is to know.
                _drains[0] = _drains[0] or was_on
            elif was_on:
                gc.enable()
