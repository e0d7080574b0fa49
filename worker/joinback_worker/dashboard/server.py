"""One process that serves the pages. Without a password it listens on loopback only."""

import logging
import socket
from collections.abc import Collection

import uvicorn
from starlette.types import ASGIApp

from joinback.errors import ConfigurationError

from .doors import PROBES, is_loopback

BACKLOG = 128
CONCURRENCY_MAX = 128
"""Connections at a time. A browser opens some six."""


def listen(host: str, port: int, password: str | None) -> socket.socket:
    """Return a listening socket. Raises ConfigurationError, with the fix, if it cannot listen or needs a password."""
    if not is_loopback(host) and password is None:
        raise ConfigurationError(
            f"other machines can reach --host {host}: set JOINBACK_DASHBOARD_PASSWORD, or leave --host out and use a"
            " proxy that asks for a login"
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another --host or --port"
        ) from None


def url_of(listening: socket.socket) -> str:
    """Return the URL by which a browser on this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    host = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def server_of(pages: ASGIApp, *, quiet: bool = False) -> uvicorn.Server:
    """Return a server for these pages. With `quiet` it logs no requests."""
    config = uvicorn.Config(
        pages,
        lifespan="off",
        ws="none",
        # Headers of a proxy about the client and the scheme are not needed: links have no scheme.
        proxy_headers=False,
        server_header=False,
        access_log=not quiet,
        log_level="warning" if quiet else "info",
        limit_concurrency=CONCURRENCY_MAX,
        timeout_graceful_shutdown=2,
    )
    logging.getLogger("uvicorn.access").addFilter(_is_not_a_probe)
    return uvicorn.Server(config)


def _is_not_a_probe(record: logging.LogRecord) -> bool:
    """Return whether to log a request. Probes ask every few seconds for ever, and would fill the log."""
    parts: Collection[object] = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(one, str) and one.partition("?")[0] in PROBES for one in parts)
