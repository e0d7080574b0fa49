"""Dead letters by reason: how many, since when, what can be done about them, and whether a replay would help."""

import re
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.command_line import command_line
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.by_hand.dead_letters import Letter, letters
from joinback_worker.drain.source import Source
from joinback_worker.nearest import nearest
from joinback_worker.notes.foreign import taken

from .redis_cli import redis_fix
from .spans import in_words

NEWEST_MAX = 20
"""The letters per reason that are returned: one screen of them shows what the rest looks like."""

LOST = "lost"
"""The reason under which a person counts events that are missing, to close the books. No letter has it."""
ADVICE = {
    "after_window": "a replay is late again, unless the join window is longer now: see joinback config check",
    "undecodable": "a replay fails again, unless a newer worker can read these bytes: ask their sender",
    "unreadable_entry": "nothing to replay: the entry named no key; ask its sender",
    "record_missing": "nothing to replay: Redis had deleted the record; see joinback doctor for evictions and memory",
    "pending_expired": "nothing to replay: no worker drained within the buffer TTL; see joinback status",
    LOST: "nothing to replay: a person counted these events as lost, to close the books after the finding `difference`",
    "breaks_declaration": "a replay fails again until the declaration is changed: see joinback config check",
    "sink_refused": "fix what the sink refuses, as the detail says; then replay",
    "wrong_type": "another program wrote to the key: rename or delete the key, then have the client log again",
    "record_too_large": "it cannot become a row; the detail says how to read the record in parts",
    "feedback_overflow": "the record is full, so a replay fails again: find out who sends so many events of one key",
    "retraction_overflow": "the record is full, so a replay fails again: find out who sends so many events of one key",
    "prediction_overflow": "the record is full, so a replay fails again: find out who sends so many events of one key",
}
"""Reason -> what to do."""


_PLACEHOLDER = re.compile(r"\bjoinback ([a-z ]+) APP(?:LICATION)?\b((?: --?[a-z-]+(?: \w+)?)*)")


class Group(Struct, kw_only=True):
    """The dead letters of one reason, summed over all tags of an application."""

    reason: str
    now: int = 0
    """Letters that exist now."""
    ever: int = 0
    """All letters ever counted: also those that were replayed, dropped or expired, and those that never had bytes."""
    first_at: datetime | None = None
    """When the first letter that exists now was written."""
    last_at: datetime | None = None
    expire_in_s: float | None = None
    """Seconds until the last of them expires, unless a new one comes."""
    replayable: int = 0
    """Those of `now` whose bytes are kept."""
    advice: str = ""
    """What to do, in one sentence. If a replay would fail again, it says so."""
    newest: list[Letter] = []
    """The newest of them, the newest last, without their bytes, which `dead_letters.letter_of` returns. The details are
    as people read them."""


def named(detail: str, application: str) -> str:
    """Return the detail of a dead letter. A command in it names the application, which its writer did not know."""
    return _PLACEHOLDER.sub(lambda match: command_line(match[1], application, options=match[2].split()), detail)


async def check_letters(redis: Redis, settings: Settings, tags: Sequence[str]) -> None:
    """Raise JoinbackError, with the line that makes room, if another type stands at the key of a tag's letters."""
    for foreign in (await taken(redis, {wire.dead_key(tag): "stream" for tag in tags})).values():
        raise JoinbackError(f"{foreign.says}; {foreign.does}: {redis_fix(settings, foreign.command)}")


async def check_reason(redis: Redis, application: str, tags: Sequence[str], reason: str) -> None:
    """Raise JoinbackError, with the reasons that exist, for one that no dead letter of these tags ever had."""
    if reason in ADVICE:
        return
    known = [group.reason for group in await dead_groups(redis, application, tags, newest_max=0)]
    if reason not in known:
        raise JoinbackError(f"no dead letter of {application} has the reason {reason!r}; {_instead(reason, known)}")


def _instead(reason: str, known: Sequence[str]) -> str:
    """Return the reason that was most likely meant, or those that exist."""
    if near := nearest(reason, {*known, *ADVICE}):
        return f"did you mean {near}?"
    return f"its reasons are {', '.join(sorted(known))}" if known else "it has no dead letters"


async def dead_groups(
    redis: Redis,
    application: str,
    tags: Sequence[str],
    *,
    reason: str | None = None,
    newest_max: int | None = NEWEST_MAX,
) -> list[Group]:
    """Return the groups of these tags. The group with the newest letter comes first.

    It reads all letters, a page at a time. `newest_max` is the number of letters that each group keeps; None keeps all.
    Raises what Redis raises.
    """
    found: dict[str, Group] = {}
    for tag in tags:
        for name, number in (await Source(redis, tag).accounting()).dead_by_reason.items():
            if reason in (None, name):
                _group(found, name).ever += number
        try:
            expire_s = await redis.execute_command("TTL", wire.dead_key(tag))
            async for letter in letters(redis, tag, reason=reason):
                _add(_group(found, letter.reason), application, letter, expire_s, newest_max)
        except ResponseError:
            continue  # the key holds another type, which `joinback status` reports
    return sorted(found.values(), key=lambda group: (group.last_at is None, -_seconds(group.last_at), group.reason))


def _group(found: dict[str, Group], reason: str) -> Group:
    return found.setdefault(reason, Group(reason=reason, advice=ADVICE.get(reason, "")))


def _add(group: Group, application: str, letter: Letter, expire_s: int, newest_max: int | None) -> None:
    group.now += 1
    group.replayable += bool(letter.event and letter.payload)
    group.first_at = min(letter.at, group.first_at or letter.at)
    group.last_at = max(letter.at, group.last_at or letter.at)
    group.expire_in_s = max(float(expire_s), group.expire_in_s or 0.0)
    group.newest.append(letter._replace(payload=b"", detail=in_words(named(letter.detail, application))))
    if newest_max is not None and len(group.newest) > newest_max:
        del group.newest[0]


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
