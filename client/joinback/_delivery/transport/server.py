"""The way to one server. It is also the last step of the way to a primary that Sentinels name."""

from collections.abc import Callable, Sequence
from typing import Any

from joinback._delivery.command import Command
from joinback.redis_errors import BrokenReply, RedisRefusal, Unreachable

from .link import Link, expect_list
from .troubles import Redirect


class Server:
    """See `Transport`."""

    def __init__(self, make_link: Callable[[], Link]) -> None:
        self._make_link = make_link
        self._link = make_link()
        self._last_server = ""
        self.changes = 0

    @property
    def where(self) -> str:
        return self._link.where

    @property
    def connected(self) -> bool:
        return self._link.is_open

    def connect(self) -> None:
        link = self._make_link()
        self._link = link
        link.open()
        try:
            _check_shape(link)
        except BaseException:
            link.close()
            raise
        if link.server != self._last_server:
            self._last_server = link.server
            self.changes += 1

    def send(self, command: Sequence[bytes] | Command, key: bytes) -> Any:
        try:
            return self._link.send(command)
        except Redirect:
            pass
        raise _is_of_a_cluster(self._link)

    def server_of(self, key: bytes) -> str:
        return self._link.server

    def look(self, *, closely: bool = False) -> None:
        """Do nothing: the next command shows whether the server is gone."""

    def disconnect(self) -> None:
        self._link.close()

    def abort(self) -> None:
        self._link.abort()


def _check_shape(link: Link) -> None:
    """Raise Unreachable if this server is a Sentinel or a node of a cluster: then the URL should say so."""
    if link.mode == "sentinel":
        raise _is_sentinel(link)
    if link.mode == "cluster":
        try:
            spans = expect_list(link.call("CLUSTER", "SLOTS"))
            # A cluster with one primary can be used as one server.
            if len({str(span[2]) for span in spans}) > 1:
                raise _is_of_a_cluster(link)
        except (RedisRefusal, BrokenReply, IndexError, TypeError):
            # Without an answer, MOVED at the first command will say so.
            pass


def _is_of_a_cluster(link: Link) -> Unreachable:
    return Unreachable(
        f"{link.where} is one node of a Redis Cluster; write redis+cluster:// instead of redis:// in the Redis URL"
    )


def _is_sentinel(link: Link) -> Unreachable:
    try:
        masters = expect_list(link.call("SENTINEL", "MASTERS"))
        names = [_text(value) for master in masters for name, value in _pairs(master) if name == b"name"]
    except (RedisRefusal, OSError):
        names = []
    service = names[0] if names else "service"
    return Unreachable(
        f"{link.where} is a Sentinel and holds no data;"
        f" write redis+sentinel://{link.where}/{service}/0 as the Redis URL"
    )


def _pairs(about: Any) -> list[tuple[Any, Any]]:
    """Return names and values: RESP 2 has a flat list of them, RESP 3 a map."""
    if isinstance(about, dict):
        return list(about.items())
    return list(zip(about[::2], about[1::2], strict=False)) if isinstance(about, list) else []


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
