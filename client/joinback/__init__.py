"""Joinback: log predictions now and feedback later, and get one joined row per prediction.

    import joinback

    key = joinback.log_record("loans", inputs={"amount": 900}, outputs={"default": 0.07})
    joinback.log_record("loans", feedback={"repaid": True}, join_key=key)   # up to six months later

The functions are those of one process-wide `Client`, configured from the environment on first use.
"""

import typing

from .client import Client
from .errors import ConfigurationError, InvalidEvent, JoinbackError
from .instrument import instrument
from .join_key import JoinKey
from .reading import read

default_client = Client()
init = default_client.init
log_record = default_client.log_record
log_records = default_client.log_records
retract = default_client.retract
set_sample_rate = default_client.set_sample_rate
flush = default_client.flush
aflush = default_client.aflush
close = default_client.close
ping = default_client.ping
stats = default_client.stats

__all__ = [
    "Client",
    "ConfigurationError",
    "InvalidEvent",
    "JoinKey",
    "JoinbackError",
    "aflush",
    "close",
    "default_client",
    "flush",
    "init",
    "instrument",
    "log_record",
    "log_records",
    "ping",
    "read",
    "retract",
    "set_sample_rate",
    "stats",
]

if typing.TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Return `__version__` of the installed package. Looked up on request only, because that is slow."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import metadata

        try:
            return metadata.version("joinback")
        except metadata.PackageNotFoundError:
            return "unknown"
