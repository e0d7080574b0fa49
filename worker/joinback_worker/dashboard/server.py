"""One process that serves the pages, on loopback unless there is a password."""

import logging
import socket
from collections.abc import Collection

import uvicorn
from starlette.types import ASGIApp

from joinback.errors import ConfigurationError

from .doors import PROBES, is_loopback

BACKLOG = 128
CONCURRENCY_MAX = 128
"""Connections at once; a person has some six."""


def listen(host: str, port: int, password: str | None) -> socket.socket:
    """Return a socket that listens there. Raises ConfigurationError, with the fix."""
    if not is_loopback(host) and password is None:
        raise ConfigurationError(
            f"--host {host} can be reached by others: set JOINBACK_DASHBOARD_PASSWORD, or leave --host out and put a"
            " proxy that asks for a login in front"
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port} ({error.strerror}); see --host, --port"
        ) from None


def url_of(listening: socket.socket) -> str:
    """Return where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    host = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def server_of(pages: ASGIApp, *, quiet: bool = False) -> uvicorn.Server:
    """Return a server for these pages; `quiet` logs no requests."""
    config = uvicorn.Config(
        pages,
        lifespan="off",
        ws="none",
        # A proxy's word on who asks and by which scheme is not needed: links have neither.
        proxy_headers=False,
        server_header=False,
        access_log=not quiet,
        log_level="warning" if quiet else "info",
        limit_concurrency=CONCURRENCY_MAX,
        timeout_graceful_shutdown=2,
    )
    logging.getLogger("uvicorn.access").addFilter(_is_no_probe)
    return uvicorn.Server(config)


def _is_no_probe(record: logging.LogRecord) -> bool:
    """Whether a line is worth a log's room: a probe asks every few seconds, for ever."""
    said: Collection[object] = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(one, str) and one.partition("?")[0] in PROBES for one in said)
