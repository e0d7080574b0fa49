"""Log the events of a person's command with the client, and wait until Redis has them."""

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import joinback
from joinback.command_line import command_line
from joinback.errors import JoinbackError
from joinback.sampling import keeps
from joinback.settings import Settings

FLUSH_EVENTS = 10_000
"""How many events are logged between two waits: a tenth of the client's buffer, so it never fills."""
FLUSH_TIMEOUT_S = 30.0
"""How long one wait may take: a failover of Redis takes some ten seconds."""

Call = Callable[[joinback.Client], object]
"""Logs one event with this client."""


class Undelivered(JoinbackError):
    """Not all events reached Redis in time."""


def new_name(what: str) -> str:
    """Return a new event id that a person can read: what it is, when it was made (UTC), and six hex digits."""
    return f"{what}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def deliver(settings: Settings, calls: Iterable[Call]) -> int:
    """Make these calls, each of which logs one event, and wait until Redis has the events. Return how many.

    Raises Undelivered, which names how many reached Redis, and InvalidEvent for an event that cannot be logged.
    """
    # No spool: an event that is reported as undelivered here must not be delivered later by another process.
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
    stats = client.stats()
    if not is_delivered or stats["sent"] < number:
        dropped = "".join(f", {reason} {count}" for reason, count in stats["dropped"].items() if count)
        raise Undelivered(
            f"{stats['sent']} of {number} events reached Redis, and no more{dropped}; see joinback doctor"
        )
    return number


def check_sample(application: str, join_keys: Iterable[str], rate: float | None) -> None:
    """Raise JoinbackError if the client would drop an event of one of these keys, because it is outside the sample.

    `rate`: the published sample rate, from 0 to 1; None: none is published.
    """
    if rate is not None:
        outside = sum(not keeps(application, key, rate) for key in join_keys)
        if outside:
            raise JoinbackError(
                f"{outside} join keys are outside the published sample of {rate:g}, so their events are dropped;"
                f" run: {command_line('sample-rate', application, '1')}, then this again, then set it back"
            )
