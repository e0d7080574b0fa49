"""Dead letters by reason: how many, since when, what can still be done about them, and whether it would help."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.by_hand.dead_letters import Letter, letters
from joinback_worker.drain.source import Source

NEWEST_MAX = 20
"""Letters of one reason that are kept: a screen of them says what the rest is like."""

ADVICE = {
    "after_window": "late again, unless the join window is longer now: see joinback config check",
    "undecodable": "these bytes will fail again, unless a newer worker reads them: ask their sender",
    "unreadable_entry": "nothing to replay: the entry named no key; ask its sender",
    "record_missing": "nothing to replay: Redis had let the record go; see joinback doctor for evictions and memory",
    "pending_expired": "nothing to replay: no worker drained within the buffer TTL; see joinback status",
    "breaks_declaration": "fails again until the declaration or the value is mended: see joinback config check",
    "sink_refused": "mend what the sink refuses, then replay",
    "wrong_type": "rename or delete what stands at the key, then let its client log again",
    "record_too_large": "read the record in parts, as the letter says; it becomes no row",
    "feedback_overflow": "the record is full: fails again; who sends so many events of one key?",
    "retraction_overflow": "the record is full: fails again; who sends so many events of one key?",
    "prediction_overflow": "the record is full: fails again; who sends so many events of one key?",
}
"""By reason, what to do."""


class Group(Struct, kw_only=True):
    """The dead letters of one reason, over all tags of an application."""

    reason: str
    now: int = 0
    """Letters that are there."""
    ever: int = 0
    """Counted; also those replayed, dropped, expired, and those that never had bytes."""
    first_at: datetime | None = None
    """Of those that are there."""
    last_at: datetime | None = None
    expire_in_s: float | None = None
    """When the last of them is gone, unless a new one comes."""
    replayable: int = 0
    """Of `now`, those whose bytes are there."""
    advice: str = ""
    """What to do, in one sentence; it says so where a replay would fail again."""
    newest: list[Letter] = []
    """Some of them, the newest last, without their bytes: `dead.letter_of` has those of one."""


async def dead_groups(
    redis: Redis, tags: Sequence[str], *, reason: str | None = None, newest_max: int | None = NEWEST_MAX
) -> list[Group]:
    """Return the groups of these tags, the one with the newest letter first. Reads all letters, a page at a time.

    `newest_max`: so many letters of each are kept; None: all. Raises what Redis raises.
    """
    found: dict[str, Group] = {}
    for tag in tags:
        for name, number in (await Source(redis, tag).accounting()).dead_by_reason.items():
            if reason in (None, name):
                _group(found, name).ever += number
        try:
            expire_s = await redis.execute_command("TTL", wire.dead_key(tag))
            async for letter in letters(redis, tag, reason=reason):
                _add(_group(found, letter.reason), letter, expire_s, newest_max)
        except ResponseError:
            continue  # something else stands there, which status tells
    return sorted(found.values(), key=lambda group: (group.last_at is None, -_seconds(group.last_at), group.reason))


def _group(found: dict[str, Group], reason: str) -> Group:
    return found.setdefault(reason, Group(reason=reason, advice=ADVICE.get(reason, "")))


def _add(group: Group, letter: Letter, expire_s: int, newest_max: int | None) -> None:
    group.now += 1
    group.replayable += bool(letter.event and letter.payload)
    group.first_at = min(letter.at, group.first_at or letter.at)
    group.last_at = max(letter.at, group.last_at or letter.at)
    group.expire_in_s = max(float(expire_s), group.expire_in_s or 0.0)
    group.newest.append(letter._replace(payload=b""))
    if newest_max is not None and len(group.newest) > newest_max:
        del group.newest[0]


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
