"""Reports unwanted drops to Redis, so that `joinback status` can name the service that loses events.

The sender's thread does it while it talks to Redis anyway. It costs nothing per event, at most one command per minute,
and no command if nothing new was dropped.
"""

import os
import socket
import time

from joinback import wire
from joinback.log import REPEAT_S
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal

from .scripts import REPORT_DROPS, Scripts
from .unwanted import DropKey, Unwanted

RETRY_S = 5.0
"""How soon to try again what Redis refused, for example because it is full."""
SERVICE_BYTES_MAX = 200
"""As long as an application's name may be."""


class DropReporter:
    """The reporter of one transport and one count of drops. One thread uses it."""

    def __init__(self, scripts: Scripts, unwanted: Unwanted) -> None:
        self._scripts = scripts
        self._unwanted = unwanted
        self._reported: dict[DropKey, int] = {}
        self._number = 0
        """The number of the next report. If its answer is lost it is sent again under this number, and counts once."""
        self._report_at = 0.0
        # OpenTelemetry's variable for the name of a service, which many deployments set already.
        service = os.environ.get("OTEL_SERVICE_NAME", "").strip()
        about = {"process": os.urandom(6).hex(), "host": socket.gethostname(), "service": service}
        self._about = [part.encode(errors="replace")[:SERVICE_BYTES_MAX] for pair in about.items() for part in pair]

    def has_news(self) -> bool:
        """Return whether there are drops that were not reported."""
        return self._unwanted.counts() != self._reported

    def due_at(self) -> float:
        """Return the monotonic time of the next report; inf if there is nothing to report."""
        return self._report_at if self.has_news() else float("inf")

    def report(self) -> None:
        """Report the drops since the last report, if there are any. Raises OSError.

        If Redis refuses, that is left to the next try: the commands of the events meet the same trouble and report it.
        """
        counts = self._unwanted.counts()
        news = {drop: count - self._reported.get(drop, 0) for drop, count in counts.items()}
        fields = [(wire.drop_field(*drop), b"%d" % count) for drop, count in news.items() if count]
        if not fields:
            return
        self._report_at = time.monotonic() + RETRY_S
        arguments = [b"%d" % wire.DROPS_TTL_S, b"%d" % wire.DROPS_ENTRIES_MAX, *self._about]
        arguments += [b"number", b"%d" % self._number, *(part for pair in fields for part in pair)]
        try:
            reply = self._scripts.run(REPORT_DROPS, [wire.DROPS_KEY.encode()], arguments)
        except (RedisRefusal, NodeDown):
            return
        if reply != 1:
            raise BrokenReply("this is not an answer to a report of drops")
        self._reported = counts
        self._number += 1
        # As often as the log reports drops.
        self._report_at = time.monotonic() + REPEAT_S
