"""Label one join key by hand: look up what is known of it, show what its row will say, and what is doubtful."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct
from redis.asyncio import Redis

import joinback
from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.config.rules_file import policy_of
from joinback_worker.drain.source import Source, Unusable
from joinback_worker.errors import SinkMissing
from joinback_worker.law.declared import trouble_with
from joinback_worker.law.record import CLOCK_SKEW_MAX, Record, merge
from joinback_worker.law.record_hash import read_hash
from joinback_worker.law.row import project, unfold
from joinback_worker.law.rules import Policy, Rules
from joinback_worker.nearest import TYPO_RATIO_MIN, nearest
from joinback_worker.notes.fields_seen import fields_of
from joinback_worker.notes.guard import refusal
from joinback_worker.notes.heartbeat import redis_time
from joinback_worker.notes.layouts import applications, layouts
from joinback_worker.notes.rules_in_use import rules_in_use, unlike
from joinback_worker.notes.tombstones import erased_until
from joinback_worker.sinks import open_sink

from .delivering import check_sample, deliver, new_name
from .retracting import Change, changes_of


class Label(Struct, frozen=True, kw_only=True):
    """A label for one join key, from a person."""

    application: str
    join_key: str
    values: Mapping[str, Any]
    """Field -> value, as JSON decodes it."""
    at: datetime
    source: str
    event_id: str
    logged_at: datetime


class Outlook(Struct, kw_only=True):
    """What a label would do."""

    is_known: bool
    """Whether the sink or Redis knows its join key."""
    before: dict[str, Any]
    """The row's feedback as it is in the sink: field -> value."""
    changes: Sequence[Change]
    """The fields whose value the label changes, compared with what the sink and Redis hold together."""
    troubles: Sequence[str]
    """Doubts about the label, one line each, for a person."""
    notes: Sequence[str]
    """What else a person should know, one line each."""


def values_of(given: Sequence[str], rules: Rules) -> dict[str, Any]:
    """Return field -> value from arguments such as `repaid=true`. A value is JSON if it can be, else text.

    Raises JoinbackError for an argument without a name or `=`, and for a name that comes twice.
    """
    values: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not (name and equals):
            raise JoinbackError(f"{one!r} is not a label; write it like repaid=true")
        if name in values:
            raise JoinbackError(f"{name} is given twice; give it once")
        field = rules.feedback.get(name)
        # If the field is declared as text, a code such as 007 or 1e5 stays text, though it looks like a number.
        is_text = field is not None and field.scalar == "str" and text != "null" and not text.startswith('"')
        values[name] = text if is_text else _json_or_text(text)
    return values


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text


def label_of(application: str, join_key: str, values: Mapping[str, Any], at: datetime | None, source: str) -> Label:
    """Return the label with a new event id. Its time is `at`, or now."""
    now = datetime.now(UTC)
    return Label(
        application=application,
        join_key=join_key,
        values=values,
        at=at or now,
        source=source,
        event_id=new_name("label"),
        logged_at=now,
    )


async def outlook(redis: Redis, settings: Settings, label: Label) -> Outlook:
    """Return what the label would do. Writes nothing.

    Raises JoinbackError if the settings' sink is not the published one, if the join key is erased or outside the
    sample, or if its record in Redis cannot be read; and what sinks and redis-py raise.
    """
    if why := await refusal(redis, settings, label.application):
        raise JoinbackError(why)
    if until := await erased_until(redis, label.application, label.join_key, await redis_time(redis)):
        raise JoinbackError(
            f"not labelled: {label.join_key!r} of {label.application} is erased, and its tombstone holds until"
            f" {until:%Y-%m-%d %H:%M} UTC: each drain until then deletes what comes of it; label it after that"
        )
    policy = policy_of(settings, label.application, label.logged_at)
    held, before = await _in_sink(settings, policy, label)
    tags = []
    if layout := (await layouts(redis)).get(label.application):
        tags = layout.tags_of(label.application, label.join_key)
    for tag in tags:
        held = merge(held, await _in_redis(redis, tag, label))
    rate = (await applications(redis)).get(label.application, wire.Application()).sample_rate
    check_sample(label.application, [label.join_key], rate)
    values = {name: Raw(msgspec.json.encode(value)) for name, value in label.values.items()}
    event = wire.Feedback(
        v=wire.WIRE_VERSION, at=label.at, logged_at=label.logged_at, feedback=values, source=label.source
    )
    new = Record(application=label.application, join_key=label.join_key, feedback={label.event_id: event})
    after = merge(held, new)
    seen = await fields_of(redis, tags)
    troubles = [*_troubles(values, policy.rules, [*policy.rules.feedback, *seen]), *_of_time(label)]
    late = [e for e in project(after, policy)[1] if e.field == f"feedback:{label.event_id}"]
    troubles += [f"it comes too late to count: {event.detail}" for event in late]
    if len(held.fields) >= wire.RECORD_EVENTS_MAX:
        troubles.append(f"the row holds {wire.RECORD_EVENTS_MAX} events already, and takes no more")
    note = unlike((await rules_in_use(redis)).get(label.application, {}), policy.rules.digest)
    return Outlook(
        is_known=held.has_events,
        before=before,
        changes=changes_of(held, after, policy),
        troubles=troubles,
        notes=[note] if note else [],
    )


def write(settings: Settings, label: Label) -> None:
    """Log the label, and wait until Redis has it. Raises Undelivered, and InvalidEvent for what cannot be logged."""
    deliver(settings, [partial(_log, label)])


def _log(label: Label, client: joinback.Client) -> None:
    client.log_record(
        label.application,
        feedback=label.values,
        join_key=label.join_key,
        timestamp=label.at,
        event_id=label.event_id,
        source=label.source,
    )


async def _in_sink(settings: Settings, policy: Policy, label: Label) -> tuple[Record, dict[str, Any]]:
    nothing = Record(application=label.application, join_key=label.join_key)
    try:
        async with open_sink(settings.sink_url, policy, read_only=True) as sink:
            row = (await sink.get(label.application, [label.join_key])).get(label.join_key)
    except SinkMissing:
        return nothing, {}
    if row is None:
        return nothing, {}
    return unfold(row), {} if row.feedback is None else msgspec.json.decode(row.feedback)


async def _in_redis(redis: Redis, tag: str, label: Label) -> Record:
    (held,) = await Source(redis, tag).load([label.join_key])
    if isinstance(held, Unusable):
        raise JoinbackError(held.detail)
    return read_hash(label.application, label.join_key, held).record


def _troubles(values: Mapping[str, Raw], rules: Rules, known: Sequence[str]) -> list[str]:
    found = []
    for name, value in values.items():
        if name in rules.feedback:
            trouble = trouble_with(rules.feedback[name], value)
            found += [f"{name}={bytes(value).decode()} {trouble}"] if trouble else []
        elif name not in known and (near := nearest(name, known, TYPO_RATIO_MIN)):
            found.append(f"no feedback ever had a field {name!r}; did you mean {near}?")
    return found


def _of_time(label: Label) -> list[str]:
    ahead = label.at - label.logged_at
    if ahead > CLOCK_SKEW_MAX:
        return [f"its time is {ahead.total_seconds():.0f} s ahead of this clock, so it counts as now"]
    return []
