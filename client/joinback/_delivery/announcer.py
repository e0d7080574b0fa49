"""Announces an application to the worker, and its sample rate to the clients that log its feedback.

The highest rate that was ever announced stays: feedback on a prediction that was kept is never dropped.
"""

import time
from datetime import UTC, datetime

from joinback import log, wire
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal

from .rates import Rates
from .scripts import ANNOUNCE, NOTE_SHARDS, Scripts

RENEWAL_S = 5.0
"""How often an application is announced again while events of it are written: one command beside a hundred batches.
If `joinback:applications` is lost and this process is killed, the events of so long stay where no worker looks."""
RACES_MAX = 3
"""Tries while other processes announce at the same moment. After them the next batch tries again."""


class Announcer:
    """The announcer of one transport. Its methods may raise RedisRefusal or OSError."""

    def __init__(self, scripts: Scripts, rates: Rates) -> None:
        self._scripts = scripts
        self._rates = rates
        self._known: dict[str, wire.Application] = {}
        self._renew_at: dict[str, float] = {}
        self._written: set[str] = set()
        """Applications of which events were written since they were last announced."""

    def forget(self) -> None:
        """Announce each application again before its next batch: another server may not know it."""
        self._known.clear()
        self._written.clear()

    def announce(self, application: str, predicts: bool) -> wire.Application:
        """Announce an application before its events are written, if it is time. Return what stands in Redis."""
        known = self._known.get(application)
        rate = self._rates.to_announce(application, predicts)
        is_new = known is None or (rate or 0.0) > (known.sample_rate or 0.0)
        if known is None or is_new:
            known = self._publish(application, known, rate)
        elif time.monotonic() >= self._renew_at[application]:
            known = self._renewed(application, known, rate)
        self._written.add(application)
        return known

    def announce_again(self, application: str) -> None:
        """Announce an application at once, because Redis seems to have lost it."""
        self._publish(application, self._known[application], None)

    def renew_at(self) -> float:
        """Return the monotonic time at which to call `renew`, if no batch comes before."""
        return min((self._renew_at[application] for application in self._written), default=float("inf"))

    def renew(self) -> None:
        """Announce each application of which events were written since it was last announced.

        No batch may follow that would do it.
        """
        for application in sorted(self._written):
            self._publish(application, self._known[application], None)

    def _renewed(self, application: str, known: wire.Application, rate: float | None) -> wire.Application:
        """Do as `_publish`. But go on if the cluster's node that holds the announcements is down."""
        try:
            return self._publish(application, known, rate)
        except NodeDown:
            pass
        except RedisRefusal as refusal:
            if not refusal.of_node:
                raise
        self._renew_at[application] = time.monotonic() + RENEWAL_S
        return known

    def _publish(self, application: str, known: wire.Application | None, rate: float | None) -> wire.Application:
        """Write the application to Redis, with the higher of its rate there and `rate`. Return what stands there."""
        # Without a known announcement start from an empty one: so it comes back after a loss.
        stands = known or wire.Application()
        seen = b"" if known is None else wire.encode(known)
        for _ in range(RACES_MAX):
            wanted = wire.Application(stands.shards, max(rate or 0.0, stands.sample_rate or 0.0) or None)
            arguments = [application.encode(), seen, wire.encode(wanted), b"%d" % wire.STATS_TTL_S]
            stored = self._scripts.run(ANNOUNCE, [wire.APPLICATIONS_KEY.encode()], arguments)
            if not isinstance(stored, bytes):
                raise BrokenReply("this is not an answer to an announcement")
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
            # If Redis lost it, write what was known. If somebody changed it, keep theirs, with our rate if higher.
            stands, seen = (stands, b"") if not stored else (found, stored)
            if stored and (rate or 0.0) <= (found.sample_rate or 0.0):
                break
        else:
            # The rate must be in Redis before the first event is.
            raise BrokenReply("others announce the same application at the same moments")
        self._note_shards(application, known, stands)
        self._known[application] = stands
        self._renew_at[application] = time.monotonic() + RENEWAL_S
        self._written.discard(application)
        self._rates.publish(application, stands.sample_rate)
        return stands

    def _note_shards(self, application: str, known: wire.Application | None, stands: wire.Application) -> None:
        """Note the old and the new number of shards for the worker, before the first event under the new one.

        Without the note, events under a number that somebody changed by hand would not be drained.
        """
        before = 1 if known is None else known.shards
        if stands.shards == before:
            return
        now = datetime.now(UTC).isoformat().encode()
        arguments = [b"%d" % wire.STATS_TTL_S, b"HSETNX" if known is None else b"HSET"]
        for shards in (before, stands.shards):
            arguments += [wire.layout_field(application, shards).encode(), now]
        self._scripts.run(NOTE_SHARDS, [wire.LAYOUTS_KEY.encode()], arguments)
