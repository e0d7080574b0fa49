"""From a checked event to Redis: the buffer, the thread that empties it, the spool, the replay, the transport.

`Funnel` is the only door. Nothing outside imports anything else from here, and tests/test_layering.py says what this
folder imports of the rest.
"""

from .funnel import Funnel

__all__ = ["Funnel"]
