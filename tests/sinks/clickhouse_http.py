"""ClickHouse's HTTP interface in front of the engine in this process, so that the sink speaks HTTP to the true engine.

Only what clickhouse-connect asks of it: queries with parameters, commands, inserts of native blocks, errors with
their code, Basic authentication.
"""

import base64
import gzip
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

USER, PASSWORD = "joinback", "s3cret/@:"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self._answer(200, b"Ok.\n", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunks()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        elif self.headers.get("Content-Encoding") == "lz4":
            import lz4.frame

            body = lz4.frame.decompress(body)
        elif self.headers.get("Content-Encoding") == "zstd":
            import zstandard

            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        given = dict(parse_qsl(urlsplit(self.path).query))
        if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
                given[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True).decode()
            body = given.pop("query", "").encode()
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            self._refuse(403, "Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)")
            return
        # As the server's http_max_field_value_size has it.
        if any(len(value) > 131_072 for name, value in given.items() if name.startswith("param_")):
            self._refuse(400, "Code: 1000. DB::Exception: Field value too long. (POCO_EXCEPTION)")
            return
        query = given.get("query", "").encode() + body
        self.server.given.append((given, query[:200]))
        self.server.queries.append(query[:200])
        try:
            self._answer(200, self._run(query, given), {})
        except Exception as error:
            self._refuse(500, str(error))

    def _run(self, query: bytes, given: dict[str, str]) -> bytes:
        parameters = {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}
        with self.server.lock:
            insert = re.match(rb"INSERT INTO [^\n]* FORMAT Native\n", query)
            if insert:
                with tempfile.NamedTemporaryFile() as file:
                    file.write(query[insert.end() :])
                    file.flush()
                    statement = insert.group().decode().replace("FORMAT", f"FROM INFILE '{file.name}' FORMAT")
                    return bytes(self.server.engine.query(statement, "TabSeparated", params={}).bytes())
            text = query.decode()
            named = re.search(r"\s+FORMAT (\w+)\s*$", text)
            format_ = named.group(1) if named else given.get("default_format", "TabSeparated")
            text = text[: named.start()] if named else text
            return bytes(self.server.engine.query(text, format_, params=parameters).bytes() or b"")

    def _chunks(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def _refuse(self, status: int, why: str) -> None:
        code = re.search(r"Code: (\d+)", why)
        self._answer(status, why.encode(), {"X-ClickHouse-Exception-Code": code.group(1) if code else "1002"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "X-ClickHouse-Summary": "{}"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, engine: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = engine
        self.lock = threading.Lock()
        self.queries: list[bytes] = []
        self.given: list[tuple[dict[str, str], bytes]] = []
        """Each query with its parameters and settings."""


@contextmanager
def clickhouse_http(directory: Path) -> Iterator[_Server]:
    """Serve the engine in this directory; `server.server_port` is where."""
    import chdb

    engine = chdb.connect(str(directory))
    with _Server(engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            engine.close()
