"""Gantry's SDK on Joinback: code written for `import gantry` runs on `import joinback.gantry as gantry`.

The logging calls of versions 0.5 to 0.6, with their names, arguments and results; what becomes of an event,
what is safer than it was and what differs is in docs/how-to/move-from-gantry.md. Events go through Joinback's
process-wide client, whose Redis is JOINBACK_REDIS_URL; what `joinback.init` was given (redaction, a spool)
applies to them too, if it is called first.
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
    """The client behind these functions, with the same methods; None before `init`."""
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
