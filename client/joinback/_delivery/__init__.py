"""From a checked event to Redis: the buffer, the thread that empties it, the spool, the replay, the transport.

`Funnel` is the only door: nothing outside imports anything else from this folder. tests/test_layering.py lists what
this folder imports from the rest of the client.
"""

from .funnel import Funnel

__all__ = ["Funnel"]
