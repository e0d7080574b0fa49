"""What can be amiss: a stable name for each, why it matters, and whether it is trouble or a hint."""

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
    # What became of them.
    "difference",
    "books_unreadable",
    "new_dead_letters",
    "dead_letters_expire",
    "client_drops",
    # What comes.
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
    # The server.
    "redis_away",
    "redis_old",
    "right_missing",
    "eviction_possible",
    "evictions",
    "memory_high",
    "memory_forecast",
    "not_persistent",
    "restarted",
    "server_away",
    "clock_differs",
    "no_tls",
    # The sink, and how all is set up.
    "sink_wrong",
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
        "no_tls",
        "sink_missing",
        "sink_unguarded",
        "client_drops",
    }
)
"""Worth a look by day; all others are trouble, and exit code 1."""

WHY: dict[FindingName, str] = {
    "worker_dead": "Nothing reaches the sink; Redis fills, and lets events go after their TTL.",
    "worker_hangs": "It holds its claims, and nothing reaches the sink through it.",
    "worker_trouble": "What this worker could not drain stays pending.",
    "worker_older": "It leaves such events pending until it is upgraded.",
    "workers_differ": "Rows depend on which worker came first.",
    "no_drain": "Rows are older than people think they are.",
    "drain_failing": "Its events stay pending until the drain succeeds, and are lost after their TTL.",
    "sink_down": "Its events stay pending until the sink is back, and are lost after their TTL.",
    "pending_old": "Labels and predictions come late to the sink; after their TTL they are lost.",
    "waiting_for_upgrade": "No worker that runs can read them; they wait until one can, or their TTL ends.",
    "difference": "Events that Redis received are neither in rows nor pending nor dead: they were lost.",
    "books_unreadable": "Somebody wrote among the counters, so a loss would go unseen.",
    "new_dead_letters": "Each is an event that is in no row.",
    "dead_letters_expire": "They can be replayed until they expire, and not after.",
    "client_drops": "Events that a service lost before they reached Redis are in no row.",
    "no_feedback": "Labels that stop are the commonest silent failure: rows look merely young.",
    "only_orphans": "The application, or its keys, are most likely misspelt by who sends labels.",
    "many_orphans": "Labels that match no prediction are lost to every figure.",
    "field_misspelt": "A rule for a field that nobody tells does nothing.",
    "field_seen_once": "A field that was told once and never again is most likely a typo.",
    "field_broken": "Values of another type than declared are kept, and wrong in every figure.",
    "maturity_below_curve": "Rows are closed as unlabelled before their labels come.",
    "rules_differ": "Rows depend on which worker came first.",
    "rules_changed": "Older rows still say what the former rules made of them.",
    "rules_wrong": "A worker does not start with such a file.",
    "rules_unknown": "Whether workers agree about rows cannot be told.",
    "redis_away": "Clients buffer, and drop when their buffers are full; nothing is drained.",
    "redis_old": "Commands that a worker needs are missing.",
    "right_missing": "Client or worker will be refused at this command.",
    "eviction_possible": "Redis may let go of what it acknowledged.",
    "evictions": "Events may be lost; see the dead letters with the reason record_missing.",
    "memory_high": "At its limit Redis refuses events; clients hold predictions back before.",
    "memory_forecast": "At its limit Redis refuses events.",
    "not_persistent": "A restart of Redis loses what is pending; clients send their last seconds again.",
    "restarted": "What Redis had not saved is lost; clients send their last seconds again.",
    "server_away": "The applications of this server are not drained.",
    "clock_differs": "Times of events, and when they mature, are judged by clocks that disagree.",
    "no_tls": "Passwords and events cross the network in the clear.",
    "sink_wrong": "No row is written here.",
    "sink_missing": "There is nothing to read yet.",
    "sink_unguarded": "Two sinks may each get a part of the rows.",
    "probe_failed": "A record does not come through.",
}


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is amiss."""

    name: FindingName
    says: str
    """One sentence, with the numbers in it."""
    fix: str = ""
    """The command, or the setting, that mends it."""
    why: str = ""
    application: str | None = None
    is_trouble: bool = True


def finding(name: FindingName, says: str, fix: str = "", application: str | None = None) -> Finding:
    """Return it with why it matters, and whether it is trouble."""
    return Finding(name=name, says=says, fix=fix, why=WHY[name], application=application, is_trouble=name not in HINTS)


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Return them in the order of the names above, trouble before hints."""
    return sorted(found, key=lambda one: (not one.is_trouble, FINDING_NAMES.index(one.name), one.application or ""))
