"""What the client's cost is compared with from below: an encoder and a deque, and one EVALSHA a batch.

No floor checks anything, retries anything or forks; each does the least that must be done, by the fastest way.
"""

import socket
import threading
import time
from collections import deque
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import msgspec
from client_payloads import APPLICATION, AT, VERSION

encode = msgspec.json.Encoder().encode

BATCH_EVENTS_MAX = 1_000
LINGER_S = 0.05
"""As the client: a wake-up costs more than an event."""


class Encoded:
    """The event encoded by msgspec, the bytes appended to a deque."""

    chunk = 40_000

    def __init__(self, backend: str) -> None:
        self.events: deque[tuple[str, bytes]] = deque()

    def log(self, key: str, inputs: Any, outputs: Any) -> None:
        event = {"v": 1, "at": AT, "logged_at": AT, "version": VERSION, "inputs": inputs, "outputs": outputs}
        self.events.append((key, encode(event)))

    def flush(self) -> None:
        self.events.clear()


class Scripted(Encoded):
    """The same, and a thread that sends each batch by one EVALSHA of our own script, on a bare socket."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        from joinback import wire

        url = urlsplit(backend)
        self._socket = socket.create_connection((url.hostname, url.port))
        self._command([b"SCRIPT", b"LOAD", wire.WRITE_SCRIPT.encode()])
        self._busy = False
        threading.Thread(target=self._send, daemon=True).start()

    def flush(self) -> None:
        while self.events or self._busy:
            time.sleep(0.001)

    def _send(self) -> None:
        popleft = self.events.popleft
        while True:
            self._busy = True
            while waiting := min(len(self.events), BATCH_EVENTS_MAX):
                self._exchange(script_call([popleft() for _ in range(waiting)]))
            self._busy = False
            time.sleep(LINGER_S)

    def _command(self, arguments: list[bytes]) -> None:
        self._exchange(packed(arguments))

    def _exchange(self, command: bytes) -> None:
        self._socket.sendall(command)
        reply = self._socket.recv(65_536)
        # The script answers with an array of three numbers, SCRIPT LOAD with one text.
        while reply.count(b"\r\n") < (4 if reply.startswith(b"*") else 2):
            reply += self._socket.recv(65_536)
        assert not reply.startswith(b"-"), reply


def script_call(batch: list[tuple[str, bytes]]) -> bytes:
    """One EVALSHA of our own script for these events, as it goes over the wire."""
    from joinback import wire

    tag = wire.tag(APPLICATION)
    prefix = wire.record_key(tag, "")
    tag_keys = [wire.pending_key(tag).encode(), wire.stats_key(tag).encode(), wire.dead_key(tag).encode()]
    limits = [b"%d" % limit for limit in (len(prefix), 3600, 3600, 3600, 1000, 1000)]
    keys = [(prefix + key).encode() for key, _ in batch]
    events = chain.from_iterable([(b"prediction:0", payload) for _, payload in batch])
    sha = wire.WRITE_SHA.encode()
    return packed([b"EVALSHA", sha, b"%d" % (len(batch) + 3), *tag_keys, *keys, *limits, *events])


def packed(arguments: list[bytes]) -> bytes:
    """A command as it goes over the wire."""
    parts = chain.from_iterable(zip(map(_head, map(len, arguments)), arguments, strict=True))
    return b"".join([b"*%d" % len(arguments), *parts, b"\r\n"])


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    return b"\r\n$%d\r\n" % length
