"""What clients dropped, as they tell it to Redis: which service, on which host, loses events, and why.

A client tells what it dropped on purpose (sampled out, filtered) to nobody; all else within a minute, or once Redis
is back. A process that is killed by SIGKILL takes with it what it had not yet told.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct
from redis.asyncio import Redis

from joinback import wire

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""Of the stream: its id, which is the time by Redis's clock, and its fields."""


class DropsTold(Struct, frozen=True, kw_only=True):
    """Events of one application that the processes of one service on one host dropped for one reason."""

    host: str
    service: str
    """As OTEL_SERVICE_NAME names it there; empty if nothing does."""
    application: str
    """Empty for drops that name none, such as those of a damaged spool."""
    reason: str
    """One of `joinback.stats()["dropped"]`, as the client's release knows them."""
    count: int
    first_at: datetime
    """When the first of them was told, by Redis's clock; they were dropped a minute earlier at most, or while Redis
    was away."""
    last_at: datetime
    """When the last of them was told."""


async def drops_told(redis: Redis, since: datetime) -> list[DropsTold]:
    """Return what was told since a time of Redis's clock, the latest first.

    At most about `wire.DROPS_ENTRIES_MAX` entries of a few hundred bytes are read. Raises redis-py's ResponseError if
    something else stands at the key.
    """
    entries = await redis.execute_command("XRANGE", wire.DROPS_KEY, int(since.timestamp() * 1000), "+")
    return summed(entries)


def summed(entries: Iterable[Entry]) -> list[DropsTold]:
    """Return the drops of these entries, which are in the order of the stream; the latest first.

    What somebody else wrote there is left out.
    """
    # An entry whose answer was lost is told again under its number, with what was dropped meanwhile.
    told = {(fields.get(b"process"), fields.get(b"number")): (at, fields) for at, fields in entries}
    found: dict[tuple[str, str, str, str], DropsTold] = {}
    for entry_id, fields in told.values():
        at = _time_of(entry_id)
        host, service = _text(fields, b"host"), _text(fields, b"service")
        for field, value in fields.items():
            drop = wire.drop_of(field)
            if drop is None or not value.isdigit():
                continue
            reason, application = drop
            key = (host, service, application, reason)
            before = found.get(key)
            found[key] = DropsTold(
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
