"""To the primary that Sentinels name: asked anew at each connection, for after a failover it is another one."""

import time
from collections.abc import Sequence
from typing import Any

from joinback.redis_errors import RedisRefusal, Unreachable
from joinback.redis_url import Address, shown_address

from .dialing import Dialer
from .link import Link, expect_list
from .server import Server

LOOK_S = 1.0
"""After a failover that was ordered the old primary takes writes for ten seconds more, and forgets them: well within
the seconds that are sent again, `replay.REPLAY_S`, it must be noticed. A connection to a Sentinel is a millisecond."""
LOOK_SHARE_MAX = 0.1
"""Of the sender's time: a Sentinel that hangs takes a whole time-out."""


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
        """Connect to the first primary that a Sentinel names and that is one."""
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
                # Asked first the next time.
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                self._look_at = time.monotonic() + LOOK_S
                return
        # What is known to be wrong, before what may be wrong with one Sentinel.
        raise next((e for e in reversed(troubles) if isinstance(e, RedisRefusal | Unreachable)), troubles[-1])

    def send(self, command: list[bytes], key: bytes) -> Any:
        try:
            return super().send(command, key)
        except RedisRefusal as refusal:
            if refusal.code == "READONLY":
                # Demoted meanwhile; the Sentinels know the new one.
                self.disconnect()
            raise

    def look(self, *, closely: bool = False) -> None:
        """Leave a primary that the Sentinels have replaced, though it says nothing of it."""
        now = time.monotonic()
        if not self.connected or (now < self._look_at and not closely):
            return
        try:
            is_former = self._primary_by(self._sentinels[0]) != self._primary
        except (RedisRefusal, OSError):
            # The next one is asked the next time.
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
        """Raise if this is no primary: a Sentinel that was away names the old one for a while."""
        try:
            role = expect_list(self._link.call("ROLE"))
        except RedisRefusal:
            # It does not say; then READONLY will.
            return
        if role[:1] != [b"master"]:
            raise Unreachable(f"{self._link.where} is no primary any more, and the Sentinel does not know it yet")
