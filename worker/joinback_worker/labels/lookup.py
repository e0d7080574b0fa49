"""Looks up join keys: in Redis, where predictions wait for the worker, and in the sink, where they stay."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Raw
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.config.rules_file import policy_of
from joinback_worker.connection.connect import ask_each, pattern_of, primaries, scan
from joinback_worker.connection.scripts import Script
from joinback_worker.drain.source import RECORD_FIELDS_MAX
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.record import Record, effective_at, in_order
from joinback_worker.law.record_hash import read_hash
from joinback_worker.law.row import Row
from joinback_worker.notes.guard import refusal
from joinback_worker.notes.layouts import Layout
from joinback_worker.notes.tombstones import erased_of
from joinback_worker.sinks import Sink, open_sink

from .plan import IMPORTED

LABELS_AT_ONCE = 2_000
"""Labels per look-up for a sink that finds a key by itself: it takes some milliseconds there, and as much in Redis."""
LABELS_AT_ONCE_OF_FILES = 20_000
"""The same for a sink that reads all its files for each look-up: so there are few look-ups. With rows of some KB it
takes 100 MB of memory."""
_SAMPLE_STEPS = 50
"""A sample of keys reads at most as many steps of Redis (50,000 keys), and as many pages of the sink."""
_KEYS_PER_STEP = 1_000
"""Keys per command: a millisecond of Redis's time."""

_RECORDS_PER_STEP = 200
"""Whole records per round trip, at some KB each."""

_fields = Script("labels/fields.lua")
_decode_events = msgspec.json.Decoder(dict[str, Raw]).decode


class Known(NamedTuple):
    """What Redis and the sink together hold of one join key."""

    is_predicted: bool
    event_ids: frozenset[str]
    """The ids of its feedback events."""
    is_retracted: bool = False
    """Whether somebody took back feedback of it; the retractions of corrections do not count."""
    predicted_at: datetime | None = None
    """None if it has no prediction that can be read."""


NOTHING = Known(is_predicted=False, event_ids=frozenset())


class Lookup:
    """Looks up keys of one application, and changes nothing."""

    def __init__(self, redis: Redis, sink: Sink | None, application: str, layout: Layout) -> None:
        self._redis = redis
        self._sink = sink
        self._application = application
        self._layout = layout
        self.at_once = LABELS_AT_ONCE if sink is None or sink.looks_up else LABELS_AT_ONCE_OF_FILES

    async def known(self, keys: Collection[str]) -> dict[str, Known]:
        """Return key -> what is known of it, without the keys of which nothing is.

        Raises what Redis raises, and SinkUnavailable.
        """
        # Redis first: what a worker drains in between is then found in the sink.
        in_redis = await self._in_redis(keys)
        rows = await self._rows(keys)
        known = {key: _known(in_redis.get(key, ()), rows.get(key)) for key in in_redis.keys() | rows.keys()}
        unread = [key for key, found in known.items() if found.is_predicted and found.predicted_at is None]
        for key, at in (await self._predicted_at(unread)).items():
            known[key] = known[key]._replace(predicted_at=at)
        return known

    async def erased(self, keys: Collection[str]) -> set[str]:
        """Return which of the keys are erased, so that drains delete what comes of them. Raises what Redis raises."""
        return await erased_of(self._redis, self._application, keys)

    async def _predicted_at(self, keys: Collection[str]) -> dict[str, datetime]:
        """Return key -> time of its prediction, from Redis. A few records at a time, as their inputs may be large."""
        found: dict[str, datetime] = {}
        async for key, fields in self._read(keys):
            record = read_hash(self._application, key, fields.items()).record
            if record.predictions:
                found[key] = effective_at(in_order(record.predictions)[0][1])
        return found

    async def _read(self, keys: Collection[str]) -> AsyncIterator[tuple[str, dict[str, bytes]]]:
        """Yield (key, fields) of whole records of Redis."""
        places = [(key, tag) for key in keys for tag in self._layout.tags_of(self._application, key)]
        for start in range(0, len(places), _RECORDS_PER_STEP):
            part = places[start : start + _RECORDS_PER_STEP]
            answers = await ask_each(self._redis, [("HGETALL", wire.record_key(tag, key)) for key, tag in part])
            for (key, _), answer in zip(part, answers, strict=True):
                if isinstance(answer, dict):
                    yield key, {field.decode(errors="replace"): value for field, value in answer.items()}

    async def _in_redis(self, keys: Collection[str]) -> dict[str, list[str]]:
        """Return key -> names of the fields of its record in Redis."""
        by_tag: dict[str, list[str]] = {}
        for key in keys:
            for tag in self._layout.tags_of(self._application, key):
                by_tag.setdefault(tag, []).append(key)
        found: dict[str, list[str]] = {}
        for tag, own in by_tag.items():
            for start in range(0, len(own), _KEYS_PER_STEP):
                part = own[start : start + _KEYS_PER_STEP]
                answers = await _fields(self._redis, [wire.record_key(tag, key) for key in part], [RECORD_FIELDS_MAX])
                for key, answer in zip(part, answers, strict=True):
                    if answer:
                        found.setdefault(key, []).extend(field.decode(errors="replace") for field in answer)
        return found

    async def feedback_of(self, keys: Collection[str]) -> dict[str, Record]:
        """Return key -> record of its feedback and retractions, without its predictions.

        Raises what Redis raises, and SinkUnavailable.
        """
        events: dict[str, dict[str, bytes]] = {key: {} for key in keys}
        async for key, fields in self._read(keys):
            events[key] |= {field: value for field, value in fields.items() if not field.startswith("prediction:")}
        for key, row in (await self._rows(keys)).items():
            if row.feedback_events is not None:
                events[key] |= {field: bytes(raw) for field, raw in _decode_events(row.feedback_events).items()}
        # A field that somebody edited is not an event any more, so it contradicts nothing.
        return {key: read_hash(self._application, key, fields.items()).record for key, fields in events.items()}

    async def _rows(self, keys: Collection[str]) -> dict[str, Row]:
        return await self._sink.get(self._application, list(keys)) if self._sink is not None and keys else {}

    async def some_keys(self, count: int) -> list[str]:
        """Return at most `count` join keys that have a prediction, to learn what keys look like. Bounded search."""
        keys: dict[str, None] = {}
        # A login that may not scan gets hints all the same, from the sink.
        with suppress(ResponseError):
            keys |= dict.fromkeys(await self._some_of_redis(count // 2))
        # A pipe holds nothing that could be read.
        with suppress(SinkUnavailable):
            keys |= dict.fromkeys(await self._some_of_sink(count - len(keys)))
        return list(keys)

    async def _some_of_redis(self, count: int) -> list[str]:
        found: list[str] = []
        for tag in self._layout.tags(self._application):
            prefix = wire.record_key(tag, "")
            pattern = pattern_of(prefix) + "*"
            for server in await primaries(self._redis):
                steps = 0
                async for keys in scan(self._redis, server, keys_per_step=_KEYS_PER_STEP, pattern=pattern):
                    found += [key.decode(errors="replace").removeprefix(prefix) for key in keys]
                    steps += 1
                    if len(found) >= count or steps >= _SAMPLE_STEPS:
                        break
        known = await self._in_redis(found[: 2 * count])
        return list(islice((key for key, fields in known.items() if _has_prediction(fields)), count))

    async def _some_of_sink(self, count: int) -> list[str]:
        found: list[str] = []
        if self._sink is None:
            return found
        pages = self._sink.records()
        steps = 0
        async for records in pages:
            found += [
                record.join_key for record in records if record.application == self._application and record.predictions
            ]
            steps += 1
            if len(found) >= count or steps >= _SAMPLE_STEPS:
                break
        if (close := getattr(pages, "aclose", None)) is not None:
            await close()
        return found[:count]


def _has_prediction(fields: Collection[str]) -> bool:
    return any(field.startswith("prediction:") for field in fields)


def _known(fields: Collection[str], row: Row | None) -> Known:
    all_fields = list(fields)
    if row is not None and row.feedback_events is not None:
        all_fields += _decode_events(row.feedback_events)
    predicted_at = row.predicted_at if row is not None else None
    return Known(
        is_predicted=_has_prediction(fields) or predicted_at is not None,
        event_ids=frozenset(field.removeprefix("feedback:") for field in all_fields if field.startswith("feedback:")),
        is_retracted=any(
            field.startswith("retraction:") and not field.startswith(f"retraction:{IMPORTED}") for field in all_fields
        ),
        predicted_at=predicted_at,
    )


@asynccontextmanager
async def looking_up(redis: Redis, settings: Settings, application: str, layout: Layout) -> AsyncIterator[Lookup]:
    """Yield a look-up in this Redis and the sink of the settings. Raises JoinbackError if rows go to another sink.

    If the sink does not exist yet, the look-up is in Redis alone.
    """
    if why := await refusal(redis, settings, application):
        raise JoinbackError(why.replace("; nothing was claimed", ""))
    async with AsyncExitStack() as stack:
        sink: Sink | None
        try:
            policy = policy_of(settings, application, datetime.now(UTC))
            sink = await stack.enter_async_context(open_sink(settings.sink_url, policy, read_only=True))
        except SinkMissing:
            sink = None
        yield Lookup(redis, sink, application, layout)
