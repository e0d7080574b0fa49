"""Which feedback fields an application's labels have, and how many of their values broke what is declared of them."""

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
"""Of one tag that are remembered: more are somebody's mistake, such as a name made from an id."""


class Field(Struct):
    """What is known of one feedback field."""

    first_seen_at: str | None = None
    is_repeated: bool = False
    """Whether more than one event told it."""
    broken: int = 0
    """Values that are not what is declared; they were kept."""


class FieldsSeen:
    """What one worker has seen of one tag's fields, so that each is noted twice at most."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._noted: set[str] = set()
        self._repeated: set[str] = set()
        """Those of which Redis knows that they were told more than once."""

    async def note(self, redis: Redis, tag: str, application: str, told: Sequence[Mapping[str, Raw]]) -> None:
        """Write down the new fields among these feedbacks, and the values that broke. A full Redis refuses it."""
        counts_by_name = Counter(name for feedback in told for name in feedback if name not in self._repeated)
        broken = _broken(told, self._rules)
        if not counts_by_name and not broken:
            return
        new = sorted(counts_by_name.keys() - self._noted)[: FIELDS_MAX - len(self._noted)]
        kept = sorted(counts_by_name.keys() & self._noted) + new
        # The second time says that it is told again.
        names = [name for name in kept for _ in range(min(2, counts_by_name[name]))]
        counts = [part for pair in broken.items() for part in pair]
        with contextlib.suppress(ResponseError):
            arguments = [wire.STATS_TTL_S, _now(), len(names), *names, *counts]
            first = await _note(redis, [wire.fields_key(tag)], arguments)
            first_told = {name.decode() for name in first}
            self._noted.update(kept)
            self._repeated.update(name for name in kept if name not in first_told or counts_by_name[name] > 1)
            for name in sorted(first_told):
                self._tell(application, name)

    def _tell(self, application: str, name: str) -> None:
        declared = self._rules.feedback
        log.info("feedback_field_first_seen", application=application, field=name)
        if declared and name not in declared and (other := nearest(name, declared)):
            log.warning("feedback_field_not_declared", application=application, field=name, did_you_mean=other)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


async def fields_of(redis: Redis, tags: Sequence[str]) -> dict[str, Field]:
    """Return what is known of the fields under these tags, by name."""
    found: dict[str, Field] = {}
    for tag in tags:
        fields: dict[bytes, bytes] = {}
        # Something else may stand at the key: it hides nothing but itself.
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


def _broken(told: Iterable[Mapping[str, Raw]], rules: Rules) -> Counter[str]:
    """Return how many of these values are not what is declared of their field."""
    if not rules.typed:
        return Counter()
    return Counter(
        name
        for feedback in told
        for name, value in feedback.items()
        if name in rules.typed and trouble_with(rules.feedback[name], value) is not None
    )
