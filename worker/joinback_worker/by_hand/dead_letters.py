"""Read, replay and drop dead letters: events that could not become part of a row, kept with their bytes and the reason.

A replay sends the event like any other: through the write script, under its own id. So it may be repeated, and the
event may become a dead letter again. The books count it as received once more.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple

from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.scripts import Script

PAGE_BYTES = 4 << 20
"""About the most bytes of letters that one call reads; one letter may have a megabyte."""
PAGE_LETTERS = 500
"""About the most letters that one call reads: Redis serves nobody else during those milliseconds."""

_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
_letters = Script("by_hand/letters.lua")


class Letter(NamedTuple):
    """One dead letter. `event` and `payload` are empty if Redis did not hold the event any more."""

    id: str
    """Its id in the stream."""
    at: datetime
    """When it was written, by Redis's clock, in UTC."""
    join_key: str
    event: str
    """The event's field in its record, `<kind>:<event_id>`."""
    reason: str
    detail: str
    payload: bytes


async def letters(redis: Redis, tag: str, *, reason: str | None = None) -> AsyncIterator[Letter]:
    """Yield the letters of a tag, or those with one reason, oldest first: those that are there when this begins.

    So an event that is replayed meanwhile, and becomes a new letter, does not come again.
    """
    newest = await redis.execute_command("XREVRANGE", wire.dead_key(tag), "+", "-", "COUNT", 1)
    if not newest:
        return
    start, last = "-", newest[0][0]
    while page := await _letters(redis, [wire.dead_key(tag)], [start, last, PAGE_BYTES, PAGE_LETTERS]):
        for entry_id, flat in page:
            letter = _letter(entry_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)))
            if reason in (None, letter.reason):
                yield letter
        start = f"({page[-1][0].decode()}"


async def letter_of(redis: Redis, tag: str, letter_id: str) -> Letter | None:
    """Return the letter with this id; None if there is none."""
    # Redis refuses other ids with an error; such numbers have 64 bits.
    if not (parts := _ID.fullmatch(letter_id)) or any(int(part) >= 1 << 64 for part in parts.groups()):
        return None
    found = await redis.execute_command("XRANGE", wire.dead_key(tag), letter_id, letter_id)
    return _letter(letter_id, found[0][1]) if found else None


async def replay(redis: Redis, tag: str, letter: Letter, buffer_ttl_s: int) -> bool:
    """Send the event again and drop the letter. Return False, and do nothing, if the letter does not hold the event."""
    if not (letter.event and letter.payload):
        return False
    record = wire.record_key(tag, letter.join_key)
    event_id = letter.event.partition(":")[2]
    # Late feedback is still in its record, with a mark. Unless both are deleted, it would count as a duplicate.
    await redis.execute_command("HDEL", record, letter.event, f"{wire.LATE}:{event_id}")
    keys = wire.write_keys(tag, [letter.join_key])
    arguments = wire.write_arguments(tag, buffer_ttl_s, [(letter.event, letter.payload)])
    await redis.execute_command("EVAL", wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
    await drop(redis, tag, letter)
    return True


async def drop(redis: Redis, tag: str, letter: Letter) -> None:
    """Delete a letter. The books still count its event as dead."""
    await redis.execute_command("XDEL", wire.dead_key(tag), letter.id)


def _letter(entry_id: str, fields: dict[bytes, bytes]) -> Letter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    at = datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, tz=UTC)
    return Letter(
        entry_id, at, text(b"key"), text(b"event"), text(b"reason"), text(b"detail"), fields.get(b"bytes", b"")
    )
