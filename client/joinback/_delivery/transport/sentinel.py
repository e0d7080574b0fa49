"""The way to the primary that Sentinels name. Each connection asks them: after a failover it is another server."""

import time
from collections.abc import Sequence
from typing import Any

from joinback._delivery.command import Command
from joinback.redis_errors import RedisRefusal, Unreachable
from joinback.redis_url import Address, shown_address

from .dialing import Dialer
from .link import Link, expect_list
from .server import Server

LOOK_S = 1.0
"""How often to ask a Sentinel. After an ordered failover the old primary takes writes for ten seconds more, and loses
them. It must be noticed well within `replay.REPLAY_S`, the seconds that are sent again. Asking takes a millisecond."""
LOOK_SHARE_MAX = 0.1
"""The share of the sender's time for asking: a Sentinel that hangs takes a whole time-out."""


class Sentinel(Server):
    """See `Transport`."""

    def __init__(self, sentinels: Sequence[Address], service: str, ask: Dialer, dial: Dialer) -> None:
        self._sentinels = list(sentinels)
        self._service = service
        self._ask = ask
        self._dial = dial
        self._asked: Link | None = None
        self._primary = self._sentinels[0]
        self._look_at = 0.0
        super().__init__(lambda: self._dial.link(self._primary))

    @property
    def where(self) -> str:
        return f"{super().where} ({self._service})" if self.connected else ",".join(map(shown_address, self._sentinels))

    def connect(self) -> None:
        """Connect to the first server that a Sentinel names and that is a primary."""
        troubles: list[RedisRefusal | OSError] = []
        for sentinel in list(self._sentinels):
            try:
                self._primary = self._primary_by(sentinel)
                super().connect()
                self._check_role()
            except (RedisRefusal, OSError) as error:
                self.disconnect()
                troubles.append(error)
            else:
                # Ask this one first the next time.
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                self._look_at = time.monotonic() + LOOK_S
                return
        # Prefer an error with a known cause over the silence of one Sentinel.
        raise next((e for e in reversed(troubles) if isinstance(e, RedisRefusal | Unreachable)), troubles[-1])

    def send(self, command: Sequence[bytes] | Command, key: bytes) -> Any:
        try:
            return super().send(command, key)
        except RedisRefusal as refusal:
            if refusal.code == "READONLY":
                # It was demoted; the Sentinels know the new primary.
                self.disconnect()
            raise

    def look(self, *, closely: bool = False) -> None:
        """Leave a primary that the Sentinels have replaced, even if it still answers."""
        now = time.monotonic()
        if not self.connected or (now < self._look_at and not closely):
            return
        try:
            is_former = self._primary_by(self._sentinels[0]) != self._primary
        except (RedisRefusal, OSError):
            # Ask another Sentinel the next time.
            self._sentinels.append(self._sentinels.pop(0))
            is_former = False
        self._look_at = time.monotonic() + max(LOOK_S, (time.monotonic() - now) / LOOK_SHARE_MAX)
        if is_former:
            self.disconnect()
            self.connect()

    def abort(self) -> None:
        if (asked := self._asked) is not None:
            asked.abort()
        super().abort()

    def _primary_by(self, sentinel: Address) -> Address:
        link = self._asked = self._ask.link(sentinel)
        try:
            link.open()
            found = link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        except RedisRefusal as refusal:
            if refusal.at_login or refusal.code in ("NOAUTH", "WRONGPASS"):
                raise Unreachable(
                    f"the Sentinel at {link.where} refused the login; it has one of its own:"
                    " ?sentinel_username=…&sentinel_password=… in the Redis URL"
                ) from None
            raise
        finally:
            self._asked = None
            link.close()
        if found is None:
            raise Unreachable(
                f"the Sentinel at {link.where} knows no service {self._service!r};"
                " name one in the Redis URL that SENTINEL MASTERS lists"
            )
        host, port = expect_list(found)
        return host.decode(), int(port)

    def _check_role(self) -> None:
        """Raise Unreachable if this is not a primary: a Sentinel that was away names the old one for a while."""
        try:
            role = expect_list(self._link.call("ROLE"))
        except RedisRefusal:
            # Without an answer, READONLY at the first write will say so.
            return
        if role[:1] != [b"master"]:
            raise Unreachable(f"{self._link.where} is not a primary any more, and the Sentinel does not know it yet")
