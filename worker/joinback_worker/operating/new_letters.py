"""How many dead letters of the last day are still there, by reason.

The counters cannot say it: they count letters that were replayed or dropped since, too.
"""

from collections import Counter
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.by_hand.dead_letters import PAGE_BYTES, PAGE_LETTERS
from joinback_worker.connection.scripts import Script

COUNTED_MAX = 10_000
"""About the most letters of a tag that are counted: at 1 KB each that costs Redis some 20 steps of a millisecond."""

_new_letters = Script("operating/new_letters.lua")


async def new_letters(redis: Redis, tag: str, since: datetime) -> tuple[Counter[str], bool]:
    """Return the letters of a tag that were written since then, by reason, and whether there are more of them.

    Nothing if another type stands at their key. Raises other errors of Redis.
    """
    counts: Counter[str] = Counter()
    last, first = "+", str(int(since.timestamp() * 1000))
    while counts.total() < COUNTED_MAX:
        try:
            oldest, *flat = await _new_letters(redis, [wire.dead_key(tag)], [last, first, PAGE_BYTES, PAGE_LETTERS])
        except ResponseError:
            return counts, False
        for reason, number in zip(flat[::2], flat[1::2], strict=True):
            counts[reason.decode(errors="replace")] += number
        if not oldest:
            return counts, False
        last = f"({oldest.decode()}"
    return counts, True
