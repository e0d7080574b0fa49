"""Which feedback fields an application has, and how many of their values broke the rules declared for them."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import structlog
from msgspec import Raw, Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.connection.scripts import Script
from joinback_worker.law.declared import trouble_with
from joinback_worker.law.rules import Rules
from joinback_worker.nearest import nearest

log = structlog.get_logger("joinback")

_note = Script("notes/fields_seen.lua")

FIELDS_MAX = 1_000
"""The most fields of one tag that are remembered. More are a mistake, such as field names made from ids."""


class Field(Struct):
    """What is known of one feedback field."""

    first_seen_at: str | None = None
    """ISO 8601, in UTC; None if not known."""
    is_repeated: bool = False
    """Whether more than one event had it."""
    broken: int = 0
    """How many values broke the rules and were kept."""


class FieldsSeen:
    """What one worker has seen of one tag's fields, so that it notes each field at most twice."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._noted: set[str] = set()
        self._repeated: set[str] = set()
        """Fields of which Redis knows that more than one event had them."""

    async def note(self, redis: Redis, tag: str, application: str, feedback: Sequence[Mapping[str, Raw]]) -> None:
        """Note in Redis the new fields of this feedback (field -> value per event), and count its broken values.

        Log each field that is new. If Redis refuses, as a full one does, nothing is noted or logged. Raises other
        errors of redis-py.
        """
        counts_by_name = Counter(name for values in feedback for name in values if name not in self._repeated)
        broken = _broken(feedback, self._rules)
        if not counts_by_name and not broken:
            return
        new = sorted(counts_by_name.keys() - self._noted)[: FIELDS_MAX - len(self._noted)]
        kept = sorted(counts_by_name.keys() & self._noted) + new
        # A name that is in the list twice is noted as repeated.
        names = [name for name in kept for _ in range(min(2, counts_by_name[name]))]
        counts = [part for pair in broken.items() for part in pair]
        with contextlib.suppress(ResponseError):
            arguments = [wire.STATS_TTL_S, _now(), len(names), *names, *counts]
            first = await _note(redis, [wire.fields_key(tag)], arguments)
            first_seen = {name.decode() for name in first}
            self._noted.update(kept)
            self._repeated.update(name for name in kept if name not in first_seen or counts_by_name[name] > 1)
            for name in sorted(first_seen):
                self._log_new(application, name)

    def _log_new(self, application: str, name: str) -> None:
        declared = self._rules.feedback
        log.info("feedback_field_first_seen", application=application, field=name)
        if declared and name not in declared and (other := nearest(name, declared)):
            log.warning("feedback_field_not_declared", application=application, field=name, did_you_mean=other)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


async def fields_of(redis: Redis, tags: Sequence[str]) -> dict[str, Field]:
    """Return what is known of the fields under these tags together, by name and sorted."""
    found: dict[str, Field] = {}
    for tag in tags:
        fields: dict[bytes, bytes] = {}
        # If something else stands at the key, only this tag's fields are missing.
        with contextlib.suppress(ResponseError):
            fields = await redis.execute_command("HGETALL", wire.fields_key(tag))
        for key, value in fields.items():
            what, _, name = key.decode(errors="replace").partition(":")
            field = found.setdefault(name, Field())
            text = value.decode(errors="replace")
            if what == "seen":
                field.first_seen_at = min(field.first_seen_at or text, text)
            elif what == "again":
                field.is_repeated = True
            elif what == "broken" and text.isdecimal():
                field.broken += int(text)
    return dict(sorted(found.items()))


def _broken(feedback: Iterable[Mapping[str, Raw]], rules: Rules) -> Counter[str]:
    """Return how many of these values break the rules of their field, by field."""
    if not rules.typed:
        return Counter()
    return Counter(
        name
        for values in feedback
        for name, value in values.items()
        if name in rules.typed and trouble_with(rules.feedback[name], value) is not None
    )
