"""Which clients have a clock that differs from Redis's, judged by the events that wait for the worker.

Redis dates each event when it arrives, and its client dated it at the call. An event that arrives before it was logged
proves that a clock is ahead. A late one proves nothing by itself: it may have waited in a buffer, in a spool or in an
outage. But what waited arrives all at once. If events were logged as far apart as they arrive, they did not wait, and
the clock is behind.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from msgspec import Struct

from joinback_worker.law.record import CLOCK_SKEW_MAX

from .arrivals import Arrival
from .spans import span

BEHIND_OVER_MIN = timedelta(seconds=5)
"""The shortest time over which events must arrive before they show that a clock is behind: a backlog that is sent after
an outage arrives faster."""

WORDS_MAX = 6
"""Versions and sources of one client that are named: more do not help to find it."""


class Clock(Struct, frozen=True, kw_only=True):
    """A client whose clock differs from Redis's."""

    client: str
    ahead: timedelta
    """Less than 0 if it is behind."""

    @property
    def says(self) -> str:
        which = "ahead" if self.ahead > timedelta() else "behind"
        return f"{span(abs(self.ahead.total_seconds()))} {which} ({self.client})"


def differing(arrivals: Iterable[Arrival]) -> list[Clock]:
    """Return the clients whose clock differs by more than the join tolerates, the worst first. Pure."""
    by_client: dict[str, list[Arrival]] = {}
    for one in arrivals:
        by_client.setdefault(one.client, []).append(one)
    found = [Clock(client=_named(own), ahead=ahead) for own in by_client.values() if (ahead := _ahead(own))]
    return sorted(found, key=lambda clock: -abs(clock.ahead))


def _named(own: Sequence[Arrival]) -> str:
    """Return the name of one client, with what its events say of it."""
    words = list(dict.fromkeys(word for one in own for word in one.says))
    more = [f"and {len(words) - WORDS_MAX} more"] if len(words) > WORDS_MAX else []
    return ", ".join([own[0].client, *words[:WORDS_MAX], *more])


def _ahead(own: Sequence[Arrival]) -> timedelta | None:
    """Return by how much the clock of one client is ahead; None if it is not known to differ."""
    least, most = min(one.late for one in own), max(one.late for one in own)
    if -least > CLOCK_SKEW_MAX:
        return -least
    arrived_over = max(one.at for one in own) - min(one.at for one in own)
    # A backlog catches up: its events arrive closer together than they were logged.
    is_steady = arrived_over >= BEHIND_OVER_MIN and most - least <= arrived_over / 2
    return -least if is_steady and least > CLOCK_SKEW_MAX else None
