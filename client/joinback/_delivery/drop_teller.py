"""Tells Redis what this process dropped unwanted, so that `joinback status` can name the service that loses events.

By the sender's thread alone, with what it says to Redis anyway: nothing for an event, at most one command per
minute, and none if nothing new was dropped.
"""

import os
import socket
import time

from joinback import wire
from joinback.log import REPEAT_S
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal

from .scripts import TELL_DROPS, Scripts
from .unwanted import Drop, Unwanted

RETRY_S = 5.0
"""How soon to try again what Redis refused, such as a full one."""
SERVICE_BYTES_MAX = 200
"""As an application's name."""


class DropTeller:
    """Of one transport and one count of drops. One thread uses it."""

    def __init__(self, scripts: Scripts, unwanted: Unwanted) -> None:
        self._scripts = scripts
        self._unwanted = unwanted
        self._told: dict[Drop, int] = {}
        self._number = 0
        """Of the next entry. One whose answer was lost is told again under its number, and counts once."""
        self._tell_at = 0.0
        # The standard's own name for what a process is a part of, which many deployments set already.
        service = os.environ.get("OTEL_SERVICE_NAME", "").strip()
        about = {"process": os.urandom(6).hex(), "host": socket.gethostname(), "service": service}
        self._about = [part.encode(errors="replace")[:SERVICE_BYTES_MAX] for pair in about.items() for part in pair]

    def has_news(self) -> bool:
        """Whether something was dropped that was not told."""
        return self._unwanted.counts() != self._told

    def due_at(self) -> float:
        """When to tell; inf if there is nothing to tell."""
        return self._tell_at if self.has_news() else float("inf")

    def tell(self) -> None:
        """Tell what was dropped since it was last told, if anything was. Raises OSError.

        A refusal is left to the next try: the events' own commands tell of what is wrong.
        """
        counts = self._unwanted.counts()
        news = {drop: count - self._told.get(drop, 0) for drop, count in counts.items()}
        fields = [(wire.drop_field(*drop), b"%d" % count) for drop, count in news.items() if count]
        if not fields:
            return
        self._tell_at = time.monotonic() + RETRY_S
        arguments = [b"%d" % wire.DROPS_TTL_S, b"%d" % wire.DROPS_ENTRIES_MAX, *self._about]
        arguments += [b"number", b"%d" % self._number, *(part for pair in fields for part in pair)]
        try:
            reply = self._scripts.run(TELL_DROPS, [wire.DROPS_KEY.encode()], arguments)
        except (RedisRefusal, NodeDown):
            return
        if reply != 1:
            raise BrokenReply("the answer to what was dropped is none")
        self._told = counts
        self._number += 1
        # As often as the log tells of it.
        self._tell_at = time.monotonic() + REPEAT_S
