"""What clients dropped, as they report it in Redis: which service, on which host, loses events, and why.

A client reports drops within a minute, or when Redis is back. It does not report what it dropped on purpose (sampled
out, filtered). If a process is killed by SIGKILL, what it had not reported yet is lost.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct
from redis.asyncio import Redis

from joinback import wire

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""An entry of the stream: its id, which begins with Redis's time in ms, and its fields."""


class ReportedDrops(Struct, frozen=True, kw_only=True):
    """Events of one application that the processes of one service on one host dropped for one reason."""

    host: str
    service: str
    """The name of the service: OTEL_SERVICE_NAME there; empty if it has none."""
    application: str
    """Empty if it is not known, such as for drops of a damaged spool."""
    reason: str
    """A key of `joinback.stats()["dropped"]` in the client's release."""
    count: int
    first_at: datetime
    """When the first of them was reported, by Redis's clock. They were dropped at most a minute before, or while Redis
    was away."""
    last_at: datetime
    """When the last of them was reported."""


async def reported_drops(redis: Redis, since: datetime) -> list[ReportedDrops]:
    """Return the drops that were reported since a time of Redis's clock, the latest first.

    It reads at most about `wire.DROPS_ENTRIES_MAX` entries of a few hundred bytes. Raises redis-py's ResponseError if
    something else stands at the key.
    """
    entries = await redis.execute_command("XRANGE", wire.DROPS_KEY, int(since.timestamp() * 1000), "+")
    return summed(entries)


def summed(entries: Iterable[Entry]) -> list[ReportedDrops]:
    """Return the drops of these entries, added up, the latest first. `entries` are in the order of the stream.

    What somebody else wrote there is left out.
    """
    # If an answer was lost, the client sends the entry again under its number, with what was dropped meanwhile.
    reports = {(fields.get(b"process"), fields.get(b"number")): (at, fields) for at, fields in entries}
    found: dict[tuple[str, str, str, str], ReportedDrops] = {}
    for entry_id, fields in reports.values():
        at = _time_of(entry_id)
        host, service = _text(fields, b"host"), _text(fields, b"service")
        for field, value in fields.items():
            drop = wire.drop_of(field)
            if drop is None or not value.isdigit():
                continue
            reason, application = drop
            key = (host, service, application, reason)
            before = found.get(key)
            found[key] = ReportedDrops(
                host=host,
                service=service,
                application=application,
                reason=reason,
                count=int(value) + (before.count if before else 0),
                first_at=min(at, before.first_at) if before else at,
                last_at=max(at, before.last_at) if before else at,
            )
    return sorted(found.values(), key=lambda drops: (-drops.last_at.timestamp(), drops.host, drops.reason))


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")


def _time_of(entry_id: bytes) -> datetime:
    return datetime.fromtimestamp(int(entry_id.partition(b"-")[0]) / 1000, tz=UTC)
