"""What a person tells by a command: logged by the client like anything else, and waited for."""

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import joinback
from joinback.errors import JoinbackError
from joinback.sampling import keeps
from joinback.settings import Settings

FLUSH_EVENTS = 10_000
"""Told between two looks whether Redis has them: a tenth of the client's buffer, so it never fills."""
FLUSH_TIMEOUT_S = 30.0
"""For so many: a failover of Redis takes some ten seconds."""

Call = Callable[[joinback.Client], object]


class Undelivered(JoinbackError):
    """Redis has not all that was told."""


def new_name(what: str) -> str:
    """Return an event id that a person can tell from others: what it is of, when it was made, and six hex digits."""
    return f"{what}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def tell(settings: Settings, calls: Iterable[Call]) -> int:
    """Make these calls, one event each, and wait until Redis has them; return how many.

    Raises Undelivered, with how many it has; InvalidEvent for a call that cannot be logged.
    """
    # No spool: what is told as undelivered here must not be delivered later by somebody else.
    client = joinback.Client().init(
        settings.redis_url, buffer_ttl_s=settings.buffer_ttl_s, strict=True, spool_dir="", sample_rates={}
    )
    number = 0
    try:
        is_delivered = True
        for call in calls:
            call(client)
            number += 1
            if number % FLUSH_EVENTS == 0 and not (is_delivered := client.flush(FLUSH_TIMEOUT_S)):
                break
        is_delivered = is_delivered and client.flush(FLUSH_TIMEOUT_S)
    finally:
        client.close()
    told = client.stats()
    if not is_delivered or told["sent"] < number:
        dropped = "".join(f", {reason} {count}" for reason, count in told["dropped"].items() if count)
        raise Undelivered(f"{told['sent']} of {number} events reached Redis, and no more{dropped}; see joinback doctor")
    return number


def check_sample(application: str, join_keys: Iterable[str], rate: float | None) -> None:
    """Raise JoinbackError if the client would drop what is told of one of these keys: it is outside the sample."""
    if rate is not None:
        outside = sum(not keeps(application, key, rate) for key in join_keys)
        if outside:
            raise JoinbackError(
                f"{outside} join keys are outside the published sample of {rate:g}, so what is told of them is dropped;"
                f" run: joinback sample-rate {application} 1, then this again, then set it back"
            )
