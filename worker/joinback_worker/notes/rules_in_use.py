"""Which rules the rows of an application were folded by: each round of a worker notes the digest of its rules.

So one can see which workers have different files of rules, and that rows still stand as former rules made them.
"""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.command_line import command_line
from joinback_worker.connection.scripts import Script
from joinback_worker.law.rules import Rules

log = structlog.get_logger("joinback")

_hset = Script("notes/hset.lua")

_SLACK_S = 60
"""Added to two intervals before a note is too old to be of a living worker: a tick may be late."""


class Use(Struct, frozen=True, kw_only=True):
    """How the rules of one digest were used for one application. Times are Redis's, in UTC."""

    worker: str
    """The last worker that used them, `host:pid`."""
    since: datetime
    """Since when; after others were in use meanwhile, since it came back."""
    last: datetime
    disputed_at: datetime | None = None
    """When a worker with these rules last found that, since its round before, another had used other rules."""


Uses = Mapping[str, Use]
"""The uses of one application, by digest."""


async def rules_in_use(redis: Redis) -> dict[str, dict[str, Use]]:
    """Return the uses by application and digest. Entries that somebody else wrote are left out.

    Raises what redis-py raises.
    """
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
    """Note that this worker folds these applications by these rules now, and log rules that changed or differ.

    `now`: this worker's name, and Redis's time. `uses`: what is noted already (`rules_in_use`). `before`: when this
    worker noted its rules last; None: never. `refolds`: rows of this sink stay as they were folded until a person
    refolds them, so former rules are remembered until then. If Redis refuses, a later round notes it.
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
    """Return what to note for one application, and log it if the rules changed, or if other workers use other rules."""
    worker, at = now
    mine = known.get(digest)
    others = {other: use for other, use in known.items() if other != digest}
    meanwhile = {other: use.worker for other, use in others.items() if before and use.last > before}
    # Rules that were rolled back are in use since now, not since their first use: the rows in between follow others.
    is_back = mine is not None and not meanwhile and any(use.last > mine.last for use in others.values())
    if (mine is None or is_back) and others:
        log.warning("rules_changed", application=application, rules=digest, before=sorted(others), fix=fix(application))
    elif meanwhile:
        log.warning("rules_differ", application=application, rules=digest, of=worker, others=meanwhile)
    disputed_at = at if meanwhile else mine.disputed_at if mine else None
    return Use(worker=worker, since=mine.since if mine and not is_back else at, last=at, disputed_at=disputed_at)


def newest(uses: Uses) -> str | None:
    """Return the digest that was used last; None if there is no use."""
    return max(uses, key=lambda digest: uses[digest].last, default=None)


async def refolded(redis: Redis, application: str, digest: str) -> None:
    """Forget the rules that were last used before those of `digest`. Call it after all rows were refolded by them."""
    uses = (await rules_in_use(redis)).get(application, {})
    if digest in uses:
        gone = [other for other, use in uses.items() if use.last < uses[digest].last]
        await _forget(redis, application, gone)


async def forget_rules(redis: Redis, application: str) -> None:
    """Forget all rules of an application. Call it when the application is purged."""
    await _forget(redis, application, list((await rules_in_use(redis)).get(application, {})))


async def _forget(redis: Redis, application: str, digests: Sequence[str]) -> None:
    if digests:
        await redis.execute_command("HDEL", wire.RULES_KEY, *(wire.rules_field(application, one) for one in digests))


def fix(application: str) -> str:
    """Return, for a person, how to fold all rows of an application by the same rules."""
    refold = command_line("sink refold", application)
    return f"give all workers the same JOINBACK_CONFIG and restart them; then: {refold}"


def dispute(application: str, uses: Uses, now: datetime, interval_s: int) -> tuple[str, bool] | None:
    """Return one line for a person, and whether living workers disagree; None if all rows were folded by one set.

    Workers note their rules at each tick, so a note older than two intervals is of a worker that is gone.
    """
    if len(uses) < 2:
        return None
    living = now - timedelta(seconds=2 * interval_s + _SLACK_S)
    in_order = sorted(uses.items(), key=lambda item: item[1].last, reverse=True)
    (digest, use), (other, former) = in_order[:2]
    if former.last > living and any(use.disputed_at and use.disputed_at > living for use in uses.values()):
        named = " and ".join(f"{digest} by {use.worker}, last {_shown(use.last)}" for digest, use in in_order)
        return f"{application}: workers follow different rules: {named}", True
    if former.last >= use.since:
        return (
            f"{application}: rows written between {_shown(former.since)} and {_shown(former.last)} may follow the rules"
            f" {other}, not {digest}, which are in use"
        ), False
    return (
        f"{application}: rows written before {_shown(use.since)} follow older rules than {digest},"
        f" which were last used at {_shown(former.last)}"
    ), False


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def unlike(uses: Uses, digest: str) -> str | None:
    """Return a warning for a person if workers fold by other rules than `digest`; None if not, or if not known."""
    latest = newest(uses)
    if latest in (None, digest):
        return None
    return (
        f"{uses[latest].worker} folds by other rules ({latest}) than JOINBACK_CONFIG has here ({digest}),"
        " so the rows that it writes may differ"
    )
