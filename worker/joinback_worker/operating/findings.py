"""The problems that Joinback finds: a stable name for each, why it matters, and whether it is trouble or a hint."""

from collections.abc import Iterable
from typing import Literal, get_args

from msgspec import Struct

FindingName = Literal[
    # Whether events get through.
    "worker_dead",
    "worker_hangs",
    "worker_trouble",
    "worker_older",
    "workers_differ",
    "no_drain",
    "drain_failing",
    "sink_down",
    "pending_old",
    "waiting_for_upgrade",
    # What became of the events.
    "difference",
    "books_unreadable",
    "key_taken",
    "new_dead_letters",
    "dead_letters_expire",
    "client_drops",
    # What services send.
    "client_clock_differs",
    "sample_rate_high",
    "no_feedback",
    "only_orphans",
    "many_orphans",
    "field_misspelt",
    "field_seen_once",
    "field_broken",
    "maturity_below_curve",
    "rules_differ",
    "rules_changed",
    "rules_wrong",
    "rules_unknown",
    # The Redis server.
    "redis_away",
    "redis_old",
    "right_missing",
    "writes_refused",
    "eviction_possible",
    "evictions",
    "memory_high",
    "memory_forecast",
    "not_persistent",
    "health_unknown",
    "restarted",
    "server_away",
    "clock_differs",
    "no_tls",
    # The sink and its set-up.
    "sink_wrong",
    "sink_differs",
    "sink_missing",
    "sink_unguarded",
    "probe_failed",
]
FINDING_NAMES: tuple[FindingName, ...] = get_args(FindingName)

HINTS: frozenset[FindingName] = frozenset(
    {
        "waiting_for_upgrade",
        "worker_older",
        "many_orphans",
        "field_misspelt",
        "field_seen_once",
        "field_broken",
        "maturity_below_curve",
        "rules_changed",
        "memory_forecast",
        "not_persistent",
        "health_unknown",
        "no_tls",
        "sink_missing",
        "sink_unguarded",
        "client_drops",
        "client_clock_differs",
        "sample_rate_high",
    }
)
"""Hints can wait for the working day. All other findings are trouble, and make exit code 1."""

WHY: dict[FindingName, str] = {
    "worker_dead": "Nothing reaches the sink. Redis fills, and deletes events after their TTL.",
    "worker_hangs": "It keeps its claims, and writes nothing to the sink.",
    "worker_trouble": "Events that this worker could not drain stay pending.",
    "worker_older": "It leaves such events pending until it is upgraded.",
    "workers_differ": "What a row says depends on which worker wrote it.",
    "no_drain": "Rows are older than people expect.",
    "drain_failing": "Its events stay pending until a drain succeeds. After their TTL they are lost.",
    "sink_down": "Its events stay pending until the sink is back. After their TTL they are lost.",
    "pending_old": "Predictions and labels reach the sink late. After their TTL they are lost.",
    "waiting_for_upgrade": "No running worker can read them. They wait until one can, or until their TTL ends.",
    "difference": "Either events were lost, or somebody else wrote to the keys of Joinback.",
    "books_unreadable": "Somebody wrote among the counters, or deleted them, so a loss would go unnoticed.",
    "key_taken": "What belongs at this key is neither read nor written: drains may fail, and problems go unnoticed.",
    "new_dead_letters": "Each dead letter is an event that is in no row.",
    "dead_letters_expire": "They can be replayed only until they expire.",
    "client_drops": "A service lost these events before they reached Redis. They are in no row.",
    "client_clock_differs": "Its events carry wrong times: label delays, the newest value and the windows are wrong.",
    "sample_rate_high": "Feedback on a key whose prediction was not logged stays an orphan, and costs memory.",
    "no_feedback": "When labels stop, nothing fails: the rows only look young.",
    "only_orphans": "The sender of these labels most likely misspells the application or its keys.",
    "many_orphans": "A label that matches no prediction is missing from every figure.",
    "field_misspelt": "A rule for a field that nobody logs does nothing.",
    "field_seen_once": "A field that was logged once and never again is most likely a typo.",
    "field_broken": "Values of another type than declared are kept, and make the figures wrong.",
    "maturity_below_curve": "Rows are closed as unlabelled before their labels come.",
    "rules_differ": "What a row says depends on which worker wrote it.",
    "rules_changed": "Older rows still follow the former rules.",
    "rules_wrong": "No worker starts with such a file.",
    "rules_unknown": "Nobody can see whether all workers follow the same rules.",
    "redis_away": "Clients buffer events, and drop them when the buffer is full. Nothing is drained.",
    "redis_old": "It lacks commands that a worker needs.",
    "right_missing": "Redis will refuse this command to a client or a worker.",
    "writes_refused": "No event gets into this Redis. Clients buffer events, and drop them when the buffer is full.",
    "eviction_possible": "Redis may delete events that it acknowledged.",
    "evictions": "Events may be lost: see the dead letters with the reason record_missing.",
    "memory_high": "At its limit Redis refuses events. Clients hold predictions back before that.",
    "memory_forecast": "At its limit Redis refuses events.",
    "not_persistent": "A restart of Redis loses pending events. Clients send only their last seconds again.",
    "health_unknown": "Redis may evict events, or be nearly full, and nobody is told.",
    "restarted": "Events that Redis had not saved are lost. Clients send only their last seconds again.",
    "server_away": "The applications on this server are not drained.",
    "clock_differs": "Two clocks that disagree decide when events happened and when rows mature.",
    "no_tls": "Passwords and events cross the network unencrypted.",
    "sink_wrong": "No row can be written there.",
    "sink_differs": "A worker with this sink takes no event, since rows that belong together would be split.",
    "sink_missing": "There are no rows to read yet.",
    "sink_unguarded": "Two sinks may each get a part of the rows.",
    "probe_failed": "A record does not reach the sink.",
}


class Finding(Struct, frozen=True, kw_only=True):
    """One problem."""

    name: FindingName
    says: str
    """One sentence, with the numbers in it."""
    fix: str = ""
    """The command or the setting that fixes it; empty if none is known."""
    why: str = ""
    application: str | None = None
    is_trouble: bool = True


def finding(name: FindingName, says: str, fix: str = "", application: str | None = None) -> Finding:
    """Return a finding, with why it matters and whether it is trouble."""
    return Finding(name=name, says=says, fix=fix, why=WHY[name], application=application, is_trouble=name not in HINTS)


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings in the order of `FindingName`, with trouble before hints."""
    return sorted(found, key=lambda one: (not one.is_trouble, FINDING_NAMES.index(one.name), one.application or ""))
