"""Who may ask: checks of the Host, of requests from other sites, and of the password; and headers that limit browsers.

The Host must be one of ours, against a site whose own name resolves to 127.0.0.1 (DNS rebinding). Another site may link
here, but not fetch from here. The probes of a platform need neither name nor password, and their answers hold nothing.
"""

import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBES = frozenset({"/healthz", "/readyz"})
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Doors:
    """The checks before the pages. `names` are the host names that a request may have, beside those of loopback.

    `root` is what a proxy puts before each path. The proxy may remove it from its requests, or not.
    """

    def __init__(self, pages: ASGIApp, *, names: Collection[str], password: str | None, root: str) -> None:
        self._pages = pages
        self._root = root
        self._names = {name.lower() for name in names}
        self._password = None if password is None else password.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith(f"{self._root}/"):
            path = path.removeprefix(self._root)
        # By ASGI, the path begins with the root.
        scope = {**scope, "root_path": self._root, "path": self._root + path}
        refusal = None if path in PROBES else self._refusal(Headers(scope=scope))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # Pages may hold personal data. Style and script are asked for again, and answered by "not modified".
                headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
            await send(message)

        await (self._pages if refusal is None else refusal)(scope, receive, with_headers)

    def _refusal(self, headers: Headers) -> Response | None:
        host = host_of(headers.get("host", ""))
        if not (is_loopback(host) or host in self._names):
            return PlainTextResponse(
                f"This dashboard has no name {host[:200]!r}. If it should, start it with --name {host[:200]}\n",
                421,
            )
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("Another site may link to this dashboard, but not fetch from it.\n", 403)
        if self._password is not None and not self._is_right(headers.get("authorization", ""), self._password):
            asks = {"WWW-Authenticate": 'Basic realm="joinback", charset="UTF-8"'}
            return PlainTextResponse("This dashboard needs its password. The user name may be anything.\n", 401, asks)
        return None

    def _is_right(self, authorization: str, password: bytes) -> bool:
        scheme, _, login = authorization.partition(" ")
        try:
            given = b64decode(login, validate=True).partition(b":")[2]
        except (NotBase64, ValueError):
            return False
        return hmac.compare_digest(given, password) and scheme.lower() == "basic"


def host_of(host: str) -> str:
    """Return a Host header without its port, in lower case, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Return whether this host is the machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
