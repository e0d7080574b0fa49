"""The newest events that wait for the worker: who logged each, when, and when it arrived."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.connection.scripts import Script
from joinback_worker.notes.layouts import Layout, layouts

from .evidence import time_of

APPLICATIONS_MAX = 20
"""The applications whose waiting events are read: each costs Redis two commands per tag."""
TAGS_MAX = 16
"""The tags of an application that are read: a client's keys fall on all of its shards."""
EVENTS_MAX = 200
"""The newest pending events of a tag that are read: the server serves nobody else for some half a millisecond."""
EVENT_BYTES_MAX = 16_384
"""Larger events are left out: so a tag's answer has 3 MB at most."""

_payloads = Script("operating/payloads.lua")
_OWN_ID = re.compile(r"([0-9a-f]{12})(?:p\d+)?-\d+", re.ASCII)
"""An event id that a client of ours made: it begins with the process. `client/joinback/ids.py` makes them."""


class _Logged(Struct):
    """What of an event tells who logged it, and when."""

    logged_at: wire.Utc
    version: str | None = None
    environment: str | None = None
    source: str | None = None
    sample_rate: float = wire.UNSAMPLED


class Arrival(Struct, frozen=True, kw_only=True):
    """One event that waits."""

    client: str
    """Who logged it: the process by its event ids; or all that the event says, if it has an id of the caller's."""
    says: tuple[str, ...] = ()
    """What else it says of its client, in words. One process may log under several versions."""
    at: datetime
    """When it arrived, by Redis's clock."""
    logged_at: datetime
    """When it was logged, by its client's clock."""
    sample_rate: float | None = None
    """The share of keys at which a prediction was logged; None for another event."""

    @property
    def late(self) -> timedelta:
        return self.at - self.logged_at


async def arrivals_of(redis: Redis, applications: Sequence[str]) -> dict[str, list[Arrival]]:
    """Return the newest events that wait, by application, as far as they can be read. Raises what Redis raises."""
    known = await layouts(redis)
    found: dict[str, list[Arrival]] = {}
    for application in applications[:APPLICATIONS_MAX]:
        events = found.setdefault(application, [])
        for tag in known.get(application, Layout()).tags(application)[:TAGS_MAX]:
            # Another type may stand at the key, which `joinback status` reports.
            with suppress(ResponseError):
                events += await _under(redis, tag)
    return found


async def _under(redis: Redis, tag: str) -> list[Arrival]:
    entries = await redis.execute_command("XREVRANGE", wire.pending_key(tag), "+", "-", "COUNT", EVENTS_MAX)
    named = [(entry_id, fields) for entry_id, fields in entries if {b"key", b"kind", b"id"} <= fields.keys()]
    if not named:
        return []
    prefix = wire.record_key(tag, "").encode()
    records = [prefix + fields[b"key"] for _, fields in named]
    events = [fields[b"kind"] + b":" + fields[b"id"] for _, fields in named]
    payloads = await _payloads(redis, records, [EVENT_BYTES_MAX, *events])
    found = []
    for (entry_id, fields), payload in zip(named, payloads, strict=True):
        try:
            logged = msgspec.json.decode(payload, type=_Logged)
        except (ValueError, RecursionError):
            continue  # gone, too large, or not an event
        client, says = _client(fields[b"id"].decode(errors="replace"), logged)
        rate = logged.sample_rate if fields[b"kind"] == b"prediction" else None
        at = time_of(entry_id.decode())
        found.append(Arrival(client=client, says=says, at=at, logged_at=logged.logged_at, sample_rate=rate))
    return found


def _client(event_id: str, logged: _Logged) -> tuple[str, tuple[str, ...]]:
    """Return who logged an event, as far as the event says it, and what else it says."""
    words = (
        f"version {logged.version}" if logged.version else "",
        logged.environment or "",
        f"source {logged.source}" if logged.source else "",
    )
    says = tuple(filter(None, words))
    own = _OWN_ID.fullmatch(event_id)
    return (f"event ids {own[1]}…", says) if own else (", ".join(says) or "no name, version or source", ())
