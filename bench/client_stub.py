"""The backends of the bench that are no Redis: a local HTTP server that takes all, and one that hangs."""

import gzip
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import ClassVar
from urllib.request import urlopen


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Or each answer, being two writes, would wait 40 ms for the client's kernel.
    disable_nagle_algorithm = True
    bodies: ClassVar[deque[bytes]] = deque(maxlen=1_000)
    """What came since the last look, unpacked when somebody looks; in a long run nobody does."""

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.bodies.append(body)
        self._answer(json.dumps({"status": "Ok"}).encode())

    def do_GET(self) -> None:
        bodies = [self.bodies.popleft() for _ in range(len(self.bodies))]
        self._answer(b"\n".join(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for body in bodies))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer may end in the middle of a request."""


def _serve(port: Connection) -> None:
    server = _Server(("127.0.0.1", 0), _Handler)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def http_stub() -> Iterator[str]:
    """A server in a process of its own, so that its work is not the peer's; yields its URL."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{ours.recv()}"
    process.terminate()
    process.join()


def received(url: str) -> bytes:
    """All that came since the last look."""
    with urlopen(url, timeout=30) as response:
        body: bytes = response.read()
    return body


@contextmanager
def hanging() -> Iterator[int]:
    """A port that takes connections, and whatever is sent to it, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                threading.Thread(target=_swallow, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def _swallow(connection: socket.socket) -> None:
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass
