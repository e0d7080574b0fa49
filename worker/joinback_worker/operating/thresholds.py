"""From where on a number is trouble. Each can be set: by an option of `joinback status`, or by who calls."""

from msgspec import Struct

DAY_S = 86_400


class Thresholds(Struct, frozen=True, kw_only=True):
    """The defaults suit a team that looks within a working day."""

    age_intervals: float = 2.0
    """Oldest claimable event, in intervals of the worker: one drain may have just missed it."""
    drain_intervals: float = 2.0
    """Since the last good drain, in intervals."""
    dead_new_s: float = DAY_S
    """A dead letter is new for a day: long enough for a person to see it, too short to be an alarm for ever."""
    dead_new: int = 0
    """So many new dead letters are no trouble."""
    dead_expire_s: float = 7 * DAY_S
    """Dead letters that expire sooner are told: a quarter of their month is left."""
    silence_factor: float = 1.0
    """Of the longest time without feedback so far: a longer one is trouble."""
    orphan_share: float = 0.2
    """Of the last day's rows with feedback: more orphans are told."""
    memory_share: float = 0.85
    """Of maxmemory; clients hold predictions back from there on."""
