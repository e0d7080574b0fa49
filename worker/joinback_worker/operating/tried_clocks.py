"""Try the clocks of workers and clients against Redis's. `tried_redis` tries that of this machine. Pure."""

from collections.abc import Mapping, Sequence

from joinback_worker.law.record import CLOCK_SKEW_MAX
from joinback_worker.notes.heartbeat import Beat

from .arrivals import Arrival
from .client_clocks import differing
from .diagnosis import Tried, problem, well
from .spans import several, span, verb

CLIENTS_NAMED = 3
_FIX = "run NTP (chrony, systemd-timesyncd) there"


def try_clocks(workers: Sequence[Beat], waiting: Mapping[str, Sequence[Arrival]]) -> list[Tried]:
    """Return which clocks differ from Redis's. `waiting`: application -> its newest events that wait."""
    tried = _of_workers(workers)
    for application, events in waiting.items():
        if clocks := differing(events):
            number = len(clocks)
            named = "; ".join(clock.says for clock in clocks[:CLIENTS_NAMED])
            more = f"; and {number - CLIENTS_NAMED} more" if number > CLIENTS_NAMED else ""
            differ = f"the {verb(number, 'clock', 'clocks')} of {several(number, 'client')}"
            says = f"{application}: {differ} {verb(number, 'differs', 'differ')} from Redis's: {named}{more}"
            tried.append(problem("clients", "client_clock_differs", says, _FIX, application))
    if waiting and not any(one.area == "clients" for one in tried):
        tried.append(well("clients", _agreed([event for events in waiting.values() for event in events])))
    return tried


def _of_workers(workers: Sequence[Beat]) -> list[Tried]:
    tried = []
    for worker in workers:
        ahead_s = worker.clock_ahead_s or 0.0
        if abs(ahead_s) > CLOCK_SKEW_MAX.total_seconds():
            which = "ahead of" if ahead_s > 0 else "behind"
            says = f"the clock of worker {worker.name} is {span(abs(ahead_s))} {which} Redis's"
            tried.append(problem("workers", "clock_differs", says, _FIX))
    return tried


def _agreed(events: Sequence[Arrival]) -> str:
    if not events:
        unseen = "no event that can be read waits, so the clocks of clients could not be compared"
        return f"{unseen}: try again before the next drain"
    clients, number = len({event.client for event in events}), len(events)
    return (
        f"the {verb(clients, 'clock', 'clocks')} of {several(clients, 'client')} {verb(clients, 'agrees', 'agree')}"
        f" with Redis's, by {several(number, 'event')} that {verb(number, 'waits', 'wait')}"
    )
