"""Gantry's SDK on Joinback: code written for `import gantry` runs on `import joinback.gantry as gantry`.

These are the logging calls of versions 0.5 to 0.6, with their names, arguments and results. What differs, and what is
safer than it was, is in docs/how-to/move-from-gantry.md. Events go through Joinback's process-wide client to the Redis
of JOINBACK_REDIS_URL. If `joinback.init` is called first, its options (redaction, a spool) apply to them too.
"""

from joinback import default_client
from joinback.join_key import JoinKey

from .calls import Gantry
from .exceptions import ClientNotInitialized
from .keys import compute_feedback_id
from .options import setup_logger

_client = Gantry(default_client)
init = _client.init
log = _client.log
log_record = _client.log_record
log_records = _client.log_records
log_file = _client.log_file
ping = _client.ping
ready = _client.ready


def get_client() -> Gantry | None:
    """Return the client behind these functions, which has the same methods; None before `init`."""
    return _client if _client.initialized else None


__all__ = [
    "ClientNotInitialized",
    "JoinKey",
    "compute_feedback_id",
    "get_client",
    "init",
    "log",
    "log_file",
    "log_record",
    "log_records",
    "ping",
    "ready",
    "setup_logger",
]
