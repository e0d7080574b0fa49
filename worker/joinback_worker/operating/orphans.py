"""Feedback without a prediction, grouped by which change of form of its key would match: tried, not supposed."""

from collections import Counter
from typing import NamedTuple

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from joinback.settings import Settings
from joinback_worker.answers.questions import orphans as orphans_question
from joinback_worker.answers.questions import state as state_question
from joinback_worker.answers.stores import open_store
from joinback_worker.errors import SinkMissing
from joinback_worker.key_forms import Form, forms, learn
from joinback_worker.labels.lookup import Lookup, looking_up
from joinback_worker.labels.near import KEYS_LEARNED_FROM, KEYS_TRIED, predicted_of
from joinback_worker.notes.layouts import Layout, layouts
from joinback_worker.sinks import shown

ORPHANS_READ = 20_000
"""The newest; of these so many are tried as an import tries: a habit of a sender shows in far fewer."""
EXAMPLES_MAX = 3


class FormGroup(Struct, frozen=True, kw_only=True):
    """Orphans that one change of form would match."""

    how: str
    """Such as `with leading zeros, to 4 digits`; "" for those that no known change matches."""
    matches: int
    """Of the tried."""
    estimated: int
    """Of all orphans, by the share of the tried."""
    examples: list[tuple[str, str]] = []
    """A key as it came, and as it would match; the second is empty where none does."""
    sources: dict[str, int] = {}
    """Who sent them, by the events' `source`; "" where none was said."""


class Orphans(Struct, kw_only=True):
    """The orphans of one application."""

    application: str
    orphans: int = 0
    """Of the sink."""
    is_whole: bool = True
    """False: there are more than were read, and the newest of them stand for all."""
    tried: int = 0
    groups: list[FormGroup] = []
    """The largest first, those without a match last."""
    sink: str = ""


class _Orphan(NamedTuple):
    key: str
    sources: frozenset[str]


async def orphans(redis: Redis, settings: Settings, application: str) -> Orphans:
    """Read the orphans of the sink and try which other forms of their keys have a prediction. Changes nothing.

    Raises what Redis raises, SinkUnavailable, and JoinbackError if the rows go to another sink.
    """
    layout = (await layouts(redis)).get(application, Layout())
    async with looking_up(redis, settings, application, layout) as lookup:
        try:
            count, read = await _read(settings, application)
        except SinkMissing:
            count, read = 0, []
        # Every so many-th: even, and the same each time.
        step = max(1, -(-len(read) // KEYS_TRIED))
        tried = read[::step]
        return Orphans(
            application=application,
            orphans=count,
            is_whole=count <= len(read),
            tried=len(tried),
            groups=await _groups(lookup, tried, count),
            sink=shown(settings.sink_url),
        )


async def _read(settings: Settings, application: str) -> tuple[int, list[_Orphan]]:
    """Return how many orphans there are, and the newest of them."""
    async with open_store(settings, application) as store:
        state = await store.ask(state_question(store.dialect, application))
        count = sum(int(number) for status, number, *_ in state if status == "orphan")
        if not count:
            return 0, []
        found = await store.ask(orphans_question(store.dialect, application, ORPHANS_READ))
    return count, [_Orphan(str(key), _sources(events)) for key, events in found]


def _sources(events: object) -> frozenset[str]:
    """Who told the feedback of a row, by its history."""
    text = events if isinstance(events, str | bytes) else msgspec.json.encode(events)
    try:
        history = msgspec.json.decode(text, type=dict[str, _Told])
    except msgspec.MsgspecError:
        return frozenset()
    return frozenset(event.source or "" for field, event in history.items() if field.startswith("feedback:"))


class _Told(Struct):
    source: str | None = None


async def _groups(lookup: Lookup, tried: list[_Orphan], count: int) -> list[FormGroup]:
    looks = learn(await lookup.some_keys(KEYS_LEARNED_FROM))
    others = [[form for form in forms(orphan.key, looks) if form.key != orphan.key] for orphan in tried]
    predicted = await predicted_of(lookup, others)
    found: dict[str, list[tuple[_Orphan, str]]] = {}
    for orphan, candidates in zip(tried, others, strict=True):
        form = next((form for form in candidates if form.key in predicted), Form("", ""))
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
