"""Sends labels as feedback events, by the client that services use. A label that Redis does not take is an error."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from redis.asyncio import Redis

import joinback
from joinback.errors import InvalidEvent, JoinbackError
from joinback.settings import Settings
from joinback_worker.notes.health import Health

from .corrections import retraction_id
from .plan import Label

FLUSH_WAIT_S = 60.0
"""How long to wait while no event leaves: a failover takes some ten seconds, a restart of Redis seldom more."""
_FLUSH_LOOK_S = 5.0
_ROOM_LOOK_S = 1.0
_UNSEEN_MAX = 50_000
"""Keys, some 5 MB of memory. At more of them it waits until Redis has all events."""
_TAKEN_BACK_AT_ONCE = 10_000
"""A tenth of the client's buffer, which would drop events that do not fit."""

_REPEAT = "; fix that and repeat the import: a label that is sent twice counts once"


class LabelSender:
    """Sends labels to Redis. It waits while Redis is nearly full: the predictions of services come first."""

    def __init__(
        self, settings: Settings, redis: Redis, application: str, place: str, feedback_source: str | None
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._application = application
        self._feedback_source = feedback_source
        # With this tag a person can find the events of one import, and take them back.
        self._tags = {"import": place}
        self._taken_back = 0
        self._unseen: set[str] = set()
        """Keys of the labels that were sent since the last flush."""
        self._health = Health()
        self._client = joinback.Client().init(settings.redis_url, strict=True)

    async def send(self, labels: Sequence[Label], waits: Callable[[str], None]) -> None:
        """Hand labels to the client; `waits` shows why it waits. Raises JoinbackError if the client refuses them."""
        await self._wait_for_room(waits)
        try:
            self._unseen.update(label.key for label in labels)
            await asyncio.to_thread(self._log, labels)
        except InvalidEvent as error:
            raise JoinbackError(f"{error}{_REPEAT}") from None

    def _log(self, labels: Sequence[Label]) -> None:
        self._take_back(labels)
        self._client.log_records(
            self._application,
            feedback=[label.fields for label in labels],
            join_keys=[label.key for label in labels],
            timestamps=[label.at for label in labels],
            event_ids=[label.event_id for label in labels],
            source=self._feedback_source,
            tags=self._tags,
        )

    def _take_back(self, labels: Sequence[Label]) -> None:
        """Send the retractions of corrections, before the corrections. If the import stops in between, the next one
        sends both again.
        """
        for label in labels:
            for old, fields in label.corrects.items():
                self._client.retract(
                    self._application,
                    label.key,
                    fields=fields,
                    event_ids=[old],
                    timestamp=label.at,
                    event_id=retraction_id(old, label.event_id),
                )
                self._taken_back += 1
                if self._taken_back % _TAKEN_BACK_AT_ONCE == 0:
                    self._client.flush(FLUSH_WAIT_S)

    async def deliver_all_of(self, keys: Collection[str]) -> None:
        """Wait until Redis has all labels that were sent of these keys, so that a look-up finds them."""
        if self._unseen.isdisjoint(keys) and len(self._unseen) < _UNSEEN_MAX:
            return
        await self._flush()
        self._unseen.clear()

    async def _wait_for_room(self, waits: Callable[[str], None]) -> None:
        """Wait until Redis is no longer nearly full. Raises JoinbackError if a worker had time enough to make room.

        A record stays in Redis for a while after its drain, so making room takes that long.
        """
        patience_s = self._settings.settled_ttl_s + 2 * self._settings.interval_s
        deadline = time.monotonic() + patience_s
        while why := (await self._health.look(self._redis)).get("memory_high"):
            if time.monotonic() > deadline:
                raise JoinbackError(f"{why}; waited {patience_s:,} s for room; is a worker draining?{_REPEAT}")
            waits("waiting: Redis is nearly full, and the worker makes room")
            await asyncio.sleep(_ROOM_LOOK_S)

    async def finish(self) -> int:
        """Wait until Redis has all labels, and return how many. Raises JoinbackError if it does not have all."""
        await self._flush()
        stats = self._client.stats()
        if stats["sent"] != stats["logged"]:
            dropped = ", ".join(f"{count:,} {reason}" for reason, count in stats["dropped"].items() if count)
            raise JoinbackError(
                f"Redis has {stats['sent']:,} of {stats['logged']:,} labels"
                f" ({stats['buffered']:,} not delivered{', dropped: ' + dropped if dropped else ''}){_REPEAT}"
            )
        return int(stats["sent"]) - self._taken_back

    async def _flush(self) -> None:
        """Wait until all events have left, or until none has left for FLUSH_WAIT_S."""
        sent, deadline = -1, 0.0
        while not await self._client.aflush(_FLUSH_LOOK_S):
            stats = self._client.stats()
            if not stats["buffered"]:
                break
            if stats["sent"] != sent:
                sent, deadline = stats["sent"], time.monotonic() + FLUSH_WAIT_S
            if time.monotonic() > deadline:
                break

    def close(self) -> None:
        self._client.close()
