"""Events received lately, by the history that each drain notes: a small curve for each row of the overview."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.notes.history import Snapshot, snapshots
from joinback_worker.notes.layouts import layouts

DRAINS = 49
"""Entries read per tag, the newest ones: four hours of drains every five minutes, 50 KB."""
STEPS = 24
"""Points of a curve."""
TAGS_MAX = 32
"""Tags read per page: 2 MB at most. Applications after them have no curve."""


async def received(redis: Redis, applications: Sequence[str]) -> dict[str, list[float | None]]:
    """Return events per minute in each of `STEPS`, by application, in this order up to TAGS_MAX.

    Raises what Redis raises. A key of another type has no curve.
    """
    known, tags_left, found = await layouts(redis), TAGS_MAX, {}
    for application in applications:
        tags = known[application].tags(application) if application in known else []
        tags_left -= len(tags)
        if tags and tags_left >= 0:
            found[application] = steps([await _history(redis, tag) for tag in tags])
    return found


async def _history(redis: Redis, tag: str) -> list[Snapshot]:
    try:
        entries = await redis.execute_command("XREVRANGE", wire.history_key(tag), "+", "-", "COUNT", DRAINS)
    except ResponseError:
        return []
    return snapshots(reversed(entries))


def steps(of_tags: Sequence[Sequence[Snapshot]]) -> list[float | None]:
    """Return events per minute in equal steps of time, over all tags; an empty list for fewer than two moments.

    Events between two drains count at the later drain. If counters were lost and began again, that step counts as 0.
    """
    moments = [one.at for of_tag in of_tags for one in of_tag]
    if len(set(moments)) < 2:
        return []
    first, last = min(moments), max(moments)
    minutes = (last - first).total_seconds() / 60 / STEPS
    came = [0.0] * STEPS
    for at, count in _arrivals(of_tags):
        # The step that ends at this moment or after it. Integer division is exact.
        came[-((first - at) * STEPS // (last - first)) - 1] += count
    return [count / minutes for count in came]


def _arrivals(of_tags: Iterable[Sequence[Snapshot]]) -> Iterable[tuple[datetime, int]]:
    for of_tag in of_tags:
        for before, after in pairwise(of_tag):
            yield after.at, max(0, after.received - before.received)
