"""From which value on a number is trouble. The options of `joinback status` and callers can change each value."""

from msgspec import Struct

DAY_S = 86_400


class Thresholds(Struct, frozen=True, kw_only=True):
    """The defaults suit a team that looks within a working day."""

    age_intervals: float = 2.0
    """Age of the oldest claimable event, in intervals of the worker. One drain may have just missed the event."""
    drain_intervals: float = 2.0
    """Time since the last good drain, in intervals of the worker."""
    dead_new_s: float = DAY_S
    """How long a dead letter is new. A day is long enough for a person to see it, and does not alarm for ever."""
    dead_new: int = 0
    """How many new dead letters are not yet trouble."""
    dead_expire_s: float = 7 * DAY_S
    """Dead letters that expire sooner are trouble: a quarter of their month is left."""
    silence_factor: float = 1.0
    """A time without feedback is trouble if it is longer than the longest one so far, times this factor."""
    orphan_share: float = 0.2
    """A hint if a larger share of the last day's rows with feedback are orphans."""
    memory_share: float = 0.85
    """Share of maxmemory. From there on clients hold predictions back."""
