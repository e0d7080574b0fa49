"""Which rules an application's rows were folded by: each drain notes the digest of its own.

So two workers with different files are told by name, and so are rows that stand as former rules made them.
"""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec import Struct, structs
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire

log = structlog.get_logger("joinback")

DISPUTE_FADES = timedelta(hours=1)
"""After the last drain that met another worker's rules: by far more than an interval."""


class Use(Struct, frozen=True, kw_only=True):
    """One digest, as one application's drains used it. Times are Redis's, in UTC."""

    worker: str
    """The last one that did, `host:pid`."""
    since: datetime
    last: datetime
    disputed_at: datetime | None = None
    """When a worker that uses these last found that another had used others since its own drain before."""


Uses = Mapping[str, Use]
"""By digest."""


async def rules_in_use(redis: Redis) -> dict[str, dict[str, Use]]:
    """Return the uses by application and digest. What somebody else wrote there is passed over."""
    found: dict[bytes, bytes] = await redis.execute_command("HGETALL", wire.RULES_KEY)
    uses: defaultdict[str, dict[str, Use]] = defaultdict(dict)
    for field, value in found.items():
        digest, colon, application = field.decode(errors="replace").partition(":")
        with contextlib.suppress(msgspec.MsgspecError):
            if colon:
                uses[application][digest] = msgspec.json.decode(value, type=Use)
    return uses


async def note(
    redis: Redis, application: str, use: Use, digest: str, uses: Uses, before: datetime | None, *, refolds: bool
) -> None:
    """Note that a drain folds by these rules now, and tell what differs. What a full Redis refuses a later drain notes.

    `uses` are what stood there; `before` is when this very worker drained the application last. `refolds`: rows stay as
    they were folded, so former rules are remembered until `refolded`.
    """
    mine = uses.get(digest)
    others = {other: former for other, former in uses.items() if other != digest}
    meanwhile = {other: former.worker for other, former in others.items() if before and former.last > before}
    if mine is None and others:
        log.warning("rules_changed", application=application, rules=digest, before=sorted(others), fix=fix(application))
    elif meanwhile:
        log.warning("rules_differ", application=application, rules=digest, of=use.worker, others=meanwhile)
    with contextlib.suppress(ResponseError):
        field = wire.rules_field(application, digest)
        disputed_at = use.last if meanwhile else mine.disputed_at if mine else None
        noted = structs.replace(use, since=mine.since if mine else use.since, disputed_at=disputed_at)
        await redis.execute_command("HSET", wire.RULES_KEY, field, msgspec.json.encode(noted))
        await redis.execute_command("EXPIRE", wire.RULES_KEY, wire.STATS_TTL_S)
    if not refolds:
        await _forget(redis, application, [other for other in others if other not in meanwhile])


async def refolded(redis: Redis, application: str, digest: str) -> None:
    """All rows are as these rules make them: forget the others."""
    uses = (await rules_in_use(redis)).get(application, {})
    await _forget(redis, application, [other for other in uses if other != digest])


async def forget_rules(redis: Redis, application: str) -> None:
    """Forget an application's rules: it is no more."""
    await _forget(redis, application, list((await rules_in_use(redis)).get(application, {})))


async def _forget(redis: Redis, application: str, digests: Sequence[str]) -> None:
    if digests:
        await redis.execute_command("HDEL", wire.RULES_KEY, *(wire.rules_field(application, one) for one in digests))


def fix(application: str) -> str:
    """Return what folds all rows by the present rules."""
    return f"once all workers have the same file: joinback sink refold {application}"


def told(application: str, uses: Uses, now: datetime) -> tuple[str, bool] | None:
    """Return one line for a person, and whether it is amiss; None if all rows were folded by one set of rules."""
    if len(uses) < 2:
        return None
    in_order = sorted(uses.items(), key=lambda item: item[1].last, reverse=True)
    if any(use.disputed_at and now - use.disputed_at < DISPUTE_FADES for use in uses.values()):
        named = " and ".join(f"{digest} by {use.worker}, last {_shown(use.last)}" for digest, use in in_order)
        return f"{application}: rows are folded by different rules: {named}; {fix(application)}", True
    (digest, use), (_, former) = in_order[:2]
    return (
        f"{application}: rows of before {_shown(use.since)} were folded by other rules than {digest}"
        f" (until {_shown(former.last)}); joinback sink refold {application} folds all by the present ones"
    ), False


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def unlike(uses: Uses, digest: str) -> str | None:
    """Return, for a person, that the workers fold by other rules than these; None if some do, or none has drained."""
    if digest in uses or not uses:
        return None
    newest = max(uses, key=lambda other: uses[other].last)
    return (
        f"{uses[newest].worker} folds by other rules ({newest}) than JOINBACK_CONFIG has here ({digest}),"
        " so its rows may come to say something else"
    )
