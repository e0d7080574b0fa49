"""A TCP proxy on loopback between client and server: slow on demand, able to lead elsewhere, or to speak TLS."""

import contextlib
import socket
import ssl
import threading
import time
from typing import Any


class Proxy:
    """Forwards bytes both ways; answers are held back for `delay_s`. `lead_to` cuts what is connected."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.delay_s = 0.0
        self._context = context
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._open: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()
        self._passes = threading.Event()
        self._passes.set()
        self._ended = False
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, port: int) -> None:
        """From now on this is the server; who is connected must connect again."""
        self._target = port
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """As a NAT does with idle connections: what is connected stays so, and nothing goes through any more."""
        self._forgotten.update(self._open)

    def hang(self) -> None:
        """From now on nothing passes, either way; connections stay, new ones are taken."""
        self._passes.clear()

    def resume(self) -> None:
        """What was held back arrives, however late: so does a network that was cut."""
        self._passes.set()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: Any) -> None:
        self.resume()
        self._listener.close()
        with self._lock:
            self._ended = True
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._context is not None:
                try:
                    client = self._context.wrap_socket(client, server_side=True)
                except OSError:
                    client.close()
                    continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                # One that came at the last moment is in nobody's list to close.
                if self._ended:
                    client.close()
                    server.close()
                    return
                self._open += client, server
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if source in self._forgotten:
                    continue
                if answers and self.delay_s:
                    time.sleep(self.delay_s)
                self._passes.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
