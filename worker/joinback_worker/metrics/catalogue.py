"""Every metric: its name, which ends in its unit, what it counts, and its labels. No other file names metrics."""

from typing import Literal, NamedTuple, get_args

MetricName = Literal[
    # Gauge: 1 if Redis answered this scrape, 0 if not. If it is 0, there is no other metric.
    "joinback_up",
    # Gauge: seconds between two drains of the workers that are alive.
    "joinback_interval_seconds",
    # Gauge: workers that are alive.
    "joinback_workers",
    # Counter: events that Redis took, by kind: prediction, feedback, retraction.
    "joinback_received_events_total",
    # Counter: events that are in rows of the sink.
    "joinback_in_rows_events_total",
    # Counter: events that Redis or the sink had already.
    "joinback_duplicate_events_total",
    # Counter: events drained without a row, as their record has one side only (JOINBACK_EMIT=joined).
    "joinback_unemitted_events_total",
    # Counter: events drained without a row, as their join key was erased.
    "joinback_erased_events_total",
    # Counter: events that cannot be in a row, by reason.
    "joinback_dead_events_total",
    # Counter: rows written. A row that changes is written again.
    "joinback_written_rows_total",
    # Counter: of those, rows with prediction and feedback.
    "joinback_joined_rows_total",
    # Counter: of those, rows with feedback and no prediction.
    "joinback_orphan_rows_total",
    # Gauge: events that wait in Redis for a drain.
    "joinback_pending_events",
    # Gauge: of those, events that a worker holds.
    "joinback_claimed_events",
    # Gauge: of those, events of a newer client that no worker here can read.
    "joinback_waiting_for_upgrade_events",
    # Gauge: age of the oldest event that may be drained; 0 if none waits.
    "joinback_oldest_claimable_age_seconds",
    # Gauge: received events that are missing from the books; negative if events are in the books twice.
    "joinback_accounting_difference_events",
    # Gauge: dead letters that exist now.
    "joinback_dead_letters",
    # Gauge: seconds until the dead letters expire. Absent if there are none.
    "joinback_dead_letters_expire_seconds",
    # Gauge: when Redis took the last event. Unix time.
    "joinback_last_event_timestamp_seconds",
    # Gauge: when a drain last found feedback. Unix time.
    "joinback_last_feedback_timestamp_seconds",
    # Gauge: the longest time without feedback so far.
    "joinback_longest_silence_seconds",
    # Gauge: when the last good drain ended. One that found nothing counts too. Unix time.
    "joinback_last_drain_timestamp_seconds",
    # Gauge: age of the oldest event that is not in the sink yet; 0 if none waits.
    "joinback_sink_lag_seconds",
    # Gauge: events that clients dropped within the last day, as they reported to Redis.
    "joinback_client_dropped_events_of_day",
    # Gauge: 1 for each finding of `joinback status`, by its name. Severity: trouble or hint.
    "joinback_finding",
]
METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)


class Described(NamedTuple):
    """The description of a metric."""

    help: str
    labels: tuple[str, ...] = ()


_OF_APPLICATION = ("application",)

METRICS: dict[MetricName, Described] = {
    "joinback_up": Described("Whether Redis answered this scrape."),
    "joinback_interval_seconds": Described("Time between two drains of the workers that are alive."),
    "joinback_workers": Described("Workers that are alive."),
    "joinback_received_events_total": Described("Events that Redis took.", ("application", "kind")),
    "joinback_in_rows_events_total": Described("Events that are in rows of the sink.", _OF_APPLICATION),
    "joinback_duplicate_events_total": Described("Events that Redis or the sink had already.", _OF_APPLICATION),
    "joinback_unemitted_events_total": Described("Events drained without a row (JOINBACK_EMIT).", _OF_APPLICATION),
    "joinback_erased_events_total": Described("Events drained without a row (erased keys).", _OF_APPLICATION),
    "joinback_dead_events_total": Described("Events that cannot be in a row.", ("application", "reason")),
    "joinback_written_rows_total": Described("Rows written. A row that changes is written again.", _OF_APPLICATION),
    "joinback_joined_rows_total": Described("Rows written with prediction and feedback.", _OF_APPLICATION),
    "joinback_orphan_rows_total": Described("Rows written with feedback and no prediction.", _OF_APPLICATION),
    "joinback_pending_events": Described("Events that wait for a drain.", _OF_APPLICATION),
    "joinback_claimed_events": Described("Pending events that a worker holds.", _OF_APPLICATION),
    "joinback_waiting_for_upgrade_events": Described("Pending events that need a newer worker.", _OF_APPLICATION),
    "joinback_oldest_claimable_age_seconds": Described("Age of the oldest event that may be drained.", _OF_APPLICATION),
    "joinback_accounting_difference_events": Described("Received events missing from the books.", _OF_APPLICATION),
    "joinback_dead_letters": Described("Dead letters that exist now.", _OF_APPLICATION),
    "joinback_dead_letters_expire_seconds": Described("Time until the dead letters expire.", _OF_APPLICATION),
    "joinback_last_event_timestamp_seconds": Described("When Redis took the last event.", _OF_APPLICATION),
    "joinback_last_feedback_timestamp_seconds": Described("When a drain last found feedback.", _OF_APPLICATION),
    "joinback_longest_silence_seconds": Described("The longest time without feedback so far.", _OF_APPLICATION),
    "joinback_last_drain_timestamp_seconds": Described("When the last good drain ended.", _OF_APPLICATION),
    "joinback_sink_lag_seconds": Described("Age of the oldest event that is not in the sink yet.", ("sink",)),
    "joinback_client_dropped_events_of_day": Described(
        "Events that clients dropped within a day.", ("application", "host", "service", "reason")
    ),
    "joinback_finding": Described("Problems that joinback status finds.", ("name", "application", "severity")),
}
