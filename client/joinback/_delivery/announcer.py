"""Tells the worker of an application, and the senders of its feedback at which rate it is sampled.

The highest rate that was ever announced stands: feedback on a prediction that was kept is never dropped.
"""

import time
from datetime import UTC, datetime

from joinback import log, wire
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal

from .rates import Rates
from .scripts import ANNOUNCE, NOTE, Scripts

RENEWAL_S = 5.0
"""How often an application is announced again while it is written, and how long a loss of `joinback:applications`
can leave events where no worker looks, if this process is killed meanwhile: one command beside a hundred batches."""
RACES_MAX = 3
"""Others announce at the same moment; one of so many tries is alone, or the next batch tries again."""


class Announcer:
    """Of one transport. Its methods may raise RedisRefusal or OSError."""

    def __init__(self, scripts: Scripts, rates: Rates) -> None:
        self._scripts = scripts
        self._rates = rates
        self._known: dict[str, wire.Application] = {}
        self._renew_at: dict[str, float] = {}
        self._written: set[str] = set()
        """Written to since they were announced."""

    def forget(self) -> None:
        """Another server may know nothing of them; it is told before it is written to."""
        self._known.clear()
        self._written.clear()

    def announce(self, application: str, predicts: bool) -> wire.Application:
        """Announce an application that is about to be written, if it is time. Returns what stands in Redis."""
        known = self._known.get(application)
        rate = self._rates.to_announce(application, predicts)
        is_new = known is None or (rate or 0.0) > (known.sample_rate or 0.0)
        if known is None or is_new:
            known = self._tell(application, known, rate)
        elif time.monotonic() >= self._renew_at[application]:
            known = self._renewed(application, known, rate)
        self._written.add(application)
        return known

    def announce_again(self, application: str) -> None:
        """Announce at once what Redis seems to have lost."""
        self._tell(application, self._known[application], None)

    def renew_at(self) -> float:
        """When what was written is to be announced again though nothing else is written."""
        return min((self._renew_at[application] for application in self._written), default=float("inf"))

    def renew(self) -> None:
        """Announce all that was written since it was last announced: nobody may come after us."""
        for application in sorted(self._written):
            self._tell(application, self._known[application], None)

    def _renewed(self, application: str, known: wire.Application, rate: float | None) -> wire.Application:
        """As `_tell`; but that the node of a cluster is away that holds the announcements holds up nobody."""
        try:
            return self._tell(application, known, rate)
        except NodeDown:
            pass
        except RedisRefusal as refusal:
            if not refusal.of_node:
                raise
        self._renew_at[application] = time.monotonic() + RENEWAL_S
        return known

    def _tell(self, application: str, known: wire.Application | None, rate: float | None) -> wire.Application:
        # Nothing there, so far as is known: after a loss this is how it comes back.
        stands = known or wire.Application()
        seen = b"" if known is None else wire.encode(known)
        for _ in range(RACES_MAX):
            wanted = wire.Application(stands.shards, max(rate or 0.0, stands.sample_rate or 0.0) or None)
            arguments = [application.encode(), seen, wire.encode(wanted), b"%d" % wire.STATS_TTL_S]
            stored = self._scripts.run(ANNOUNCE, [wire.APPLICATIONS_KEY.encode()], arguments)
            if not isinstance(stored, bytes):
                raise BrokenReply("the answer to an announcement is none")
            if stored == arguments[2]:
                stands = wanted
                break
            found = wire.Application() if not stored else wire.decode_application(stored)
            if found is None:
                log.warning(
                    "joinback: %r in joinback:applications is not valid; HDEL it, meanwhile one shard is used",
                    application,
                )
                stands = wire.Application()
                break
            # Lost: what was known is told anew. Changed by somebody: theirs stands, at our rate if it is higher.
            stands, seen = (stands, b"") if not stored else (found, stored)
            if stored and (rate or 0.0) <= (found.sample_rate or 0.0):
                break
        else:
            # An event must not be there before its rate is.
            raise BrokenReply("others announce the same application at every moment")
        self._note_shards(application, known, stands)
        self._known[application] = stands
        self._renew_at[application] = time.monotonic() + RENEWAL_S
        self._written.discard(application)
        self._rates.publish(application, rate, stands.sample_rate)
        return stands

    def _note_shards(self, application: str, known: wire.Application | None, stands: wire.Application) -> None:
        """Tell the worker of each number of shards that is written under, before the first event under a new one.

        Else what was written under a number that somebody changed by hand would not be drained.
        """
        before = 1 if known is None else known.shards
        if stands.shards == before:
            return
        now = datetime.now(UTC).isoformat().encode()
        arguments = [b"%d" % wire.STATS_TTL_S, b"HSETNX" if known is None else b"HSET"]
        for shards in (before, stands.shards):
            arguments += [wire.layout_field(application, shards).encode(), now]
        self._scripts.run(NOTE, [wire.LAYOUTS_KEY.encode()], arguments)
