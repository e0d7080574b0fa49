"""Labels become feedback events, by the client that services use; none is lost without a word."""

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
"""Without any event leaving: a failover takes some ten seconds, a restart that loads its data seldom more."""
_FLUSH_LOOK_S = 5.0
_ROOM_LOOK_S = 1.0
_UNSEEN_MAX = 50_000
"""Keys, some 5 MB; then it waits for what is on its way."""
_TAKEN_BACK_AT_ONCE = 10_000
"""A tenth of the client's buffer, which drops what does not fit."""

_REPEAT = "; mend that and repeat the import: what was told counts once"


class Teller:
    """Writes labels to Redis. Waits while Redis is nearly full: the predictions of services come first."""

    def __init__(self, settings: Settings, redis: Redis, application: str, place: str, told_by: str | None) -> None:
        self._settings = settings
        self._redis = redis
        self._application = application
        self._told_by = told_by
        # By it one import can be found, and taken back.
        self._tags = {"import": place}
        self._taken_back = 0
        self._unseen: set[str] = set()
        """Of what was told since the last flush."""
        self._health = Health()
        self._client = joinback.Client().init(settings.redis_url, strict=True)

    async def tell(self, labels: Sequence[Label], say: Callable[[str], None]) -> None:
        """Hand labels to the client. Raises JoinbackError if it cannot take them."""
        await self._wait_for_room(say)
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
            source=self._told_by,
            tags=self._tags,
        )

    def _take_back(self, labels: Sequence[Label]) -> None:
        """Before the corrections themselves: whoever stops in between repeats the import, and it tells both."""
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

    async def has_all_of(self, keys: Collection[str]) -> None:
        """Return when Redis has what was told of these keys: a look-up then finds it."""
        if self._unseen.isdisjoint(keys) and len(self._unseen) < _UNSEEN_MAX:
            return
        await self._flush()
        self._unseen.clear()

    async def _wait_for_room(self, say: Callable[[str], None]) -> None:
        """What is drained stays for a while, so a nearly full Redis needs that long, and a worker, to have room."""
        patience_s = self._settings.settled_ttl_s + 2 * self._settings.interval_s
        deadline = time.monotonic() + patience_s
        while why := (await self._health.look(self._redis)).get("memory_high"):
            if time.monotonic() > deadline:
                raise JoinbackError(f"{why}; waited {patience_s:,} s for room; is a worker draining?{_REPEAT}")
            say("waiting: Redis is nearly full, and the worker makes room")
            await asyncio.sleep(_ROOM_LOOK_S)

    async def finish(self) -> int:
        """Return how many labels Redis has, which is all. Raises JoinbackError if it is not."""
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
        """Wait until all has left, or nothing does any more."""
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
