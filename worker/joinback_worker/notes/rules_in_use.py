"""Which rules an application's rows were folded by: each drain notes the digest of its own.

So two workers with different files are told by name, and so are rows that stand as former rules made them.
"""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from shlex import quote

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.connection.scripts import Script
from joinback_worker.law.rules import Rules

log = structlog.get_logger("joinback")

_hset = Script("notes/hset.lua")

_SLACK_S = 60
"""A tick may be late, or end late."""


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
    redis: Redis, rules: Mapping[str, Rules], now: tuple[str, datetime], uses: Mapping[str, Uses],
    before: datetime | None, *, refolds: bool,
) -> None:  # fmt: skip
    """Note that this worker folds these applications by these rules now, and tell what differs.

    `now` is who, and when; `uses` are what stood there; `before` is when this very worker noted its rules last.
    `refolds`: rows stay as they were folded, so former rules are remembered until `refolded`. What a full Redis refuses
    is noted by a later round.
    """
    written: list[str | bytes] = []
    former: list[str] = []
    for application, own in rules.items():
        known = uses.get(application, {})
        noted = _noted(application, own.digest, now, known, before)
        written += [wire.rules_field(application, own.digest), msgspec.json.encode(noted)]
        if not refolds:
            stale = [other for other, use in known.items() if other != own.digest and use.last < noted.since]
            former += [wire.rules_field(application, other) for other in stale]
    if written:
        with contextlib.suppress(ResponseError):
            await _hset(redis, [wire.RULES_KEY], [wire.STATS_TTL_S, *written])
    if former:
        await redis.execute_command("HDEL", wire.RULES_KEY, *former)


def _noted(application: str, digest: str, now: tuple[str, datetime], known: Uses, before: datetime | None) -> Use:
    """Return what is to be noted of one application, and log what differs from what others noted."""
    worker, at = now
    mine = known.get(digest)
    others = {other: use for other, use in known.items() if other != digest}
    meanwhile = {other: use.worker for other, use in others.items() if before and use.last > before}
    if mine is None and others:
        log.warning("rules_changed", application=application, rules=digest, before=sorted(others), fix=fix(application))
    elif meanwhile:
        log.warning("rules_differ", application=application, rules=digest, of=worker, others=meanwhile)
    disputed_at = at if meanwhile else mine.disputed_at if mine else None
    return Use(worker=worker, since=mine.since if mine else at, last=at, disputed_at=disputed_at)


def newest(uses: Uses) -> str | None:
    """Return the digest that was used last."""
    return max(uses, key=lambda digest: uses[digest].last, default=None)


async def refolded(redis: Redis, application: str, digest: str) -> None:
    """All rows are as these rules make them: forget those that were in use before these, and are no more."""
    uses = (await rules_in_use(redis)).get(application, {})
    if digest in uses:
        gone = [other for other, use in uses.items() if use.last < uses[digest].last]
        await _forget(redis, application, gone)


async def forget_rules(redis: Redis, application: str) -> None:
    """Forget an application's rules: it is no more."""
    await _forget(redis, application, list((await rules_in_use(redis)).get(application, {})))


async def _forget(redis: Redis, application: str, digests: Sequence[str]) -> None:
    if digests:
        await redis.execute_command("HDEL", wire.RULES_KEY, *(wire.rules_field(application, one) for one in digests))


def fix(application: str) -> str:
    """Return what folds all rows by the present rules."""
    return (
        f"give all workers the same JOINBACK_CONFIG and restart them; then: joinback sink refold {quote(application)}"
    )


def told(application: str, uses: Uses, now: datetime, interval_s: int) -> tuple[str, bool] | None:
    """Return one line for a person, and whether it is amiss; None if all rows were folded by one set of rules.

    Workers note their rules at each tick, so what is older than two is of a worker that is gone.
    """
    if len(uses) < 2:
        return None
    living = now - timedelta(seconds=2 * interval_s + _SLACK_S)
    in_order = sorted(uses.items(), key=lambda item: item[1].last, reverse=True)
    (digest, use), (_, former) = in_order[:2]
    if former.last > living and any(use.disputed_at and use.disputed_at > living for use in uses.values()):
        named = " and ".join(f"{digest} by {use.worker}, last {_shown(use.last)}" for digest, use in in_order)
        return f"{application}: rows are folded by different rules: {named}", True
    return (
        f"{application}: rows of before {_shown(use.since)} were folded by other rules than {digest}"
        f" (until {_shown(former.last)}); joinback sink refold {quote(application)} folds all by the present ones"
    ), False


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def unlike(uses: Uses, digest: str) -> str | None:
    """Return, for a person, that the workers fold by other rules than these; None if they do not, or none is known."""
    latest = newest(uses)
    if latest in (None, digest):
        return None
    return (
        f"{uses[latest].worker} folds by other rules ({latest}) than JOINBACK_CONFIG has here ({digest}),"
        " so its rows may come to say something else"
    )
