"""How client and worker connect to Redis: the options that a URL's scheme asks for."""

from typing import Any
from urllib.parse import urlsplit


def link_options(redis_url: str, timeout_s: float) -> dict[str, Any]:
    """Keyword arguments for `from_url`. What the URL's own query says comes first.

    redis-py waits for ever on a hung server, and in its version 5 takes any host's certificate of a trusted
    authority; neither is for us. A Unix socket takes none of TCP's options.
    """
    scheme = urlsplit(redis_url).scheme
    options: dict[str, Any] = {"socket_timeout": timeout_s}
    if scheme != "unix":
        options |= {"socket_connect_timeout": timeout_s, "socket_keepalive": True}
    if scheme == "rediss":
        options["ssl_check_hostname"] = True
    return options
