"""Try the published sample rates against those at which clients log predictions. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from joinback import wire
from joinback.command_line import command_line

from .arrivals import Arrival
from .diagnosis import Tried, problem

PREDICTIONS_MIN = 20
"""The predictions that must wait before their rate counts as that of the application: several services may log it."""


def try_rates(announced: Mapping[str, wire.Application], waiting: Mapping[str, Sequence[Arrival]]) -> Iterator[Tried]:
    """Yield each application whose feedback is kept for more keys than its predictions are logged for."""
    for application, events in waiting.items():
        published = announced.get(application, wire.Application()).sample_rate
        rates = [event.sample_rate for event in events if event.sample_rate is not None]
        if published is None or len(rates) < PREDICTIONS_MIN or max(rates) >= published:
            continue
        says = (
            f"{application}: feedback is kept for {published:g} of the keys, but the newest {len(rates)} predictions"
            f" were logged at {max(rates):g}: the feedback on the other keys makes orphans"
        )
        command = command_line("sample-rate", application, f"{max(rates):g}")
        fix = f"when the older predictions have their labels, and if every client logs at this rate: {command}"
        yield problem("clients", "sample_rate_high", says, fix, application)
