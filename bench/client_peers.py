"""Who takes part in the bench of the client, and what each must offer. Imports none of them."""

import importlib
import importlib.util
from typing import Any, NamedTuple, Protocol


class Peer(Protocol):
    chunk: int
    """So many calls in a row lose nothing: its own bound, with room to spare."""

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None: ...

    def flush(self) -> None:
        """Wait until the backend has all, or the library has given up."""


class Entry(NamedTuple):
    name: str
    module: str
    cls: str
    backend: str
    """`redis`, `http` or `file`."""
    package: str
    """What must be installed for it, by the name it is imported by."""

    def make(self, backend: str) -> Peer:
        """Import it and start it, with the URL of its backend."""
        peer: Peer = getattr(importlib.import_module(self.module), self.cls)(backend)
        return peer

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


HARNESS = Entry("the harness alone", "client_peers", "Nothing", "file", "sys")
DEQUE = Entry("floor: msgspec + deque", "client_floors", "Encoded", "file", "msgspec")
EVALSHA = Entry("floor: + one EVALSHA a batch", "client_floors", "Scripted", "redis", "msgspec")
FLOORS = (HARNESS, DEQUE, EVALSHA)
OURS = Entry("joinback", "client_ours", "Joinback", "redis", "joinback")
OTHERS = (
    Entry("redis-py pipeline of 500", "client_plain", "Pipelined", "redis", "redis"),
    Entry("stdlib QueueHandler, to a file", "client_plain", "Stdlib", "file", "sys"),
    Entry("sentry-sdk log", "client_sdks", "SentryLog", "http", "sentry_sdk"),
    Entry("sentry-sdk event", "client_sdks", "SentryEvent", "http", "sentry_sdk"),
    Entry("posthog", "client_sdks", "PosthogCapture", "http", "posthog"),
    Entry("langfuse event", "client_sdks", "LangfuseEvent", "http", "langfuse"),
)
ENTRIES = {entry.name: entry for entry in (*FLOORS, OURS, *OTHERS)}


class Nothing:
    """The harness by itself."""

    chunk = 40_000

    def __init__(self, backend: str) -> None:
        pass

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        pass

    def flush(self) -> None:
        pass
