"""Feedback without a prediction, grouped by which change of its key's form makes it match. Each change is looked up."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from heapq import nlargest
from typing import NamedTuple

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from joinback.settings import Settings
from joinback_worker.answers.questions import orphans as orphans_question
from joinback_worker.answers.questions import state as state_question
from joinback_worker.answers.stores import CannotAnswer, open_store
from joinback_worker.errors import SinkMissing
from joinback_worker.key_forms import Form, forms, learn
from joinback_worker.labels.lookup import Lookup, looking_up
from joinback_worker.labels.near import KEYS_LEARNED_FROM, KEYS_TRIED, predicted_of
from joinback_worker.law.record import effective_at
from joinback_worker.notes.layouts import Layout, layouts
from joinback_worker.sinks import open_sink, shown

from .near_application import near_application, predicted_in

ORPHANS_READ = 20_000
"""The newest orphans that are read. Of these, KEYS_TRIED are looked up: a sender's habit shows in far fewer."""
EXAMPLES_MAX = 3


class FormGroup(Struct, frozen=True, kw_only=True):
    """The orphans that one change of form makes match."""

    how: str
    """Such as `with leading zeros, to 4 digits`, or that another application has these keys; "" for the orphans that
    no known change makes match."""
    matches: int
    """How many of the tried orphans."""
    estimated: int
    """How many of all orphans, estimated by the share of the tried ones."""
    examples: list[tuple[str, str]] = []
    """Pairs of a key as it came and the key that matches; the second is empty where none matches."""
    sources: dict[str, int] = {}
    """How many each sender sent, by the `source` of the events; "" stands for events without a source."""


class Orphans(Struct, kw_only=True):
    """The orphans of one application."""

    application: str
    orphans: int = 0
    """The orphans that the sink holds."""
    is_whole: bool = True
    """False if there are more than were read: then the newest represent all."""
    tried: int = 0
    groups: list[FormGroup] = []
    """The largest group first; the orphans without a match last."""
    sink: str = ""


class _Orphan(NamedTuple):
    key: str
    sources: frozenset[str]


async def orphans(redis: Redis, settings: Settings, application: str) -> Orphans:
    """Return which other forms of the orphans' keys have a prediction. Changes nothing.

    Raises what Redis raises, SinkUnavailable, CannotAnswer for a pipe, and JoinbackError if the rows go to another
    sink.
    """
    known = await layouts(redis)
    layout = known.get(application, Layout())
    async with looking_up(redis, settings, application, layout) as lookup:
        try:
            count, read = await _read(settings, application)
        except SinkMissing:
            count, read = 0, []
        # A fixed step samples evenly, and gives the same answer each time.
        step = max(1, -(-len(read) // KEYS_TRIED))
        tried = read[::step]
        meant = await near_application(redis, application, known)
        keys = [orphan.key for orphan in tried]
        there = await predicted_in(redis, settings, meant, known[meant], keys) if meant else set()
        elsewhere = {key: f"as keys of {meant}: did their sender mean {meant}?" for key in there}
        return Orphans(
            application=application,
            orphans=count,
            is_whole=count <= len(read),
            tried=len(tried),
            groups=await _groups(lookup, tried, elsewhere, count),
            sink=shown(settings.sink_url),
        )


async def _read(settings: Settings, application: str) -> tuple[int, list[_Orphan]]:
    """Return how many orphans the sink holds, and the newest of them."""
    try:
        return await _asked(settings, application)
    except CannotAnswer:
        if settings.sink_url.startswith("stdout:"):
            raise  # nothing can be read of a pipe
        return await _paged(settings, application)


async def _asked(settings: Settings, application: str) -> tuple[int, list[_Orphan]]:
    async with open_store(settings, application) as store:
        state = await store.ask(state_question(store.dialect, application))
        count = sum(int(number) for status, number, *_ in state if status == "orphan")
        if not count:
            return 0, []
        found = await store.ask(orphans_question(store.dialect, application, ORPHANS_READ))
    return count, [_Orphan(str(key), _sources(events)) for key, events in found]


async def _paged(settings: Settings, application: str) -> tuple[int, list[_Orphan]]:
    """Return the same from a sink that answers no questions: all its records are read, page by page."""
    count = 0
    newest: list[tuple[datetime, _Orphan]] = []
    async with open_sink(settings.sink_url, read_only=True) as sink:
        async for records in sink.whole_records(application):
            for record in records:
                if not record.predictions and record.feedback:
                    count += 1
                    sources = frozenset(event.source or "" for event in record.feedback.values())
                    last_at = max(effective_at(event) for event in record.feedback.values())
                    newest.append((last_at, _Orphan(record.join_key, sources)))
            if len(newest) > 2 * ORPHANS_READ:
                newest = nlargest(ORPHANS_READ, newest, key=_time)
    return count, [orphan for _, orphan in nlargest(ORPHANS_READ, newest, key=_time)]


def _time(dated: tuple[datetime, _Orphan]) -> datetime:
    return dated[0]


def _sources(events: object) -> frozenset[str]:
    """Return who sent the feedback of a row, by its history."""
    text = events if isinstance(events, str | bytes) else msgspec.json.encode(events)
    try:
        history = msgspec.json.decode(text, type=dict[str, _Feedback])
    except msgspec.MsgspecError:
        return frozenset()
    return frozenset(event.source or "" for field, event in history.items() if field.startswith("feedback:"))


class _Feedback(Struct):
    source: str | None = None


async def _groups(lookup: Lookup, tried: list[_Orphan], elsewhere: Mapping[str, str], count: int) -> list[FormGroup]:
    """Return the groups. `elsewhere`: key -> how it matches as it is, in another application."""
    looks = learn(await lookup.some_keys(KEYS_LEARNED_FROM))
    others = [[form for form in forms(orphan.key, looks) if form.key != orphan.key] for orphan in tried]
    predicted = await predicted_of(lookup, others)
    found: dict[str, list[tuple[_Orphan, str]]] = {}
    for orphan, candidates in zip(tried, others, strict=True):
        as_it_is = Form(orphan.key, elsewhere[orphan.key]) if orphan.key in elsewhere else Form("", "")
        form = next((form for form in candidates if form.key in predicted), as_it_is)
        found.setdefault(form.how, []).append((orphan, form.key))
    ordered = sorted(found.items(), key=lambda item: (not item[0], -len(item[1])))
    return [_group(how, pairs, count / len(tried)) for how, pairs in ordered]


def _group(how: str, pairs: list[tuple[_Orphan, str]], each_stands_for: float) -> FormGroup:
    sources = Counter(source for orphan, _ in pairs for source in orphan.sources)
    return FormGroup(
        how=how,
        matches=len(pairs),
        estimated=round(len(pairs) * each_stands_for),
        examples=[(orphan.key, other) for orphan, other in pairs[:EXAMPLES_MAX]],
        sources=dict(sources.most_common(10)),
    )
