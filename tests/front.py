"""What may stand before a Redis, on loopback: it answers in the server's place, or alters what the server says."""

import contextlib
import socket
import threading
from collections.abc import Callable
from io import BufferedReader
from typing import Any

Command = list[bytes]


class Front:
    """Speaks for the server on `port`. `answer` may give its own reply to a command; `alter` changes a reply."""

    def __init__(self, port: int) -> None:
        self.port_behind = port
        self.answer: Callable[[Command], bytes | None] = lambda command: None
        self.alter: Callable[[Command, bytes], bytes] = lambda command, reply: reply
        self.hangs_up = False
        """Whether an answer of its own ends the connection."""
        self.answered = 0
        self.commands: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Front":
        return self

    def __exit__(self, *_: Any) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        for peer in self._open:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._open.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            stack.enter_context(peer)
            requests = stack.enter_context(peer.makefile("rb"))
            behind: socket.socket | None = None
            replies: BufferedReader | None = None
            while raw := read(requests):
                command = parts(raw)
                self.commands.append(command[0])
                own = self.answer(command)
                if own is not None:
                    self.answered += 1
                    peer.sendall(own)
                    if self.hangs_up:
                        return
                    continue
                if behind is None or replies is None:
                    behind = stack.enter_context(socket.create_connection(("127.0.0.1", self.port_behind)))
                    replies = stack.enter_context(behind.makefile("rb"))
                behind.sendall(raw)
                peer.sendall(self.alter(command, read(replies)))


def read(source: BufferedReader) -> bytes:
    """One value of Redis's protocol, as it came; empty at the end."""
    line = source.readline()
    if line[:1] == b"$" and int(line[1:]) >= 0:
        return line + source.read(int(line[1:]) + 2)
    if line[:1] == b"*":
        return line + b"".join(read(source) for _ in range(max(0, int(line[1:]))))
    return line


def parts(raw: bytes) -> Command:
    """The arguments of a command; their text must hold no line end before the part that matters."""
    found, rest = [], raw.partition(b"\r\n")[2]
    while rest:
        length, _, rest = rest.partition(b"\r\n")
        size = int(length[1:])
        found.append(rest[:size])
        rest = rest[size + 2 :]
    return found
