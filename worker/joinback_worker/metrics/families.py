"""From an overview to metric families. Pure: `collector` asks Redis."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from joinback_worker.operating.states import Overview, State

from .catalogue import METRICS, MetricName

_OF_COUNTERS: dict[MetricName, str] = {
    "joinback_in_rows_events_total": "in_rows",
    "joinback_duplicate_events_total": "duplicates",
    "joinback_unemitted_events_total": "unemitted",
    "joinback_erased_events_total": "erased",
    "joinback_written_rows_total": "rows",
    "joinback_joined_rows_total": "joined",
    "joinback_orphan_rows_total": "orphans",
}
"""Metric -> its field in the stats hash of a tag."""
_BY_LABEL: dict[MetricName, str] = {
    "joinback_received_events_total": "received:",
    "joinback_dead_events_total": "dead:",
}
"""Metric -> the prefix of its fields there. The value of the label follows."""


class _Families:
    """Families by name. Each is made when its first sample is added."""

    def __init__(self) -> None:
        self._made: dict[MetricName, Metric] = {}

    def add(self, name: MetricName, value: float | None, *labels: str) -> None:
        """Add a sample, unless its value is None."""
        if value is None:
            return
        described = METRICS[name]
        if name not in self._made:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            self._made[name] = kind(name, described.help, labels=described.labels)
        self._made[name].add_metric(labels, value)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._made.values())


def families(overview: Overview | None) -> Iterator[Metric]:
    """Yield the families of an overview. None means that Redis did not answer: then `joinback_up 0` is the only one."""
    found = _Families()
    found.add("joinback_up", float(overview is not None))
    if overview is not None:
        _of_all(found, overview)
        for state in overview.applications:
            _of_application(found, state)
    yield from found


def _of_all(found: _Families, overview: Overview) -> None:
    found.add("joinback_interval_seconds", overview.interval_s)
    found.add("joinback_workers", len(overview.workers))
    for sink in overview.sinks:
        found.add("joinback_sink_lag_seconds", sink.lag_s or 0.0, sink.url)
    dropped: dict[tuple[str, str, str, str], int] = {}
    for one in overview.drops:
        labels = (one.application, one.host, one.service, one.reason)
        dropped[labels] = dropped.get(labels, 0) + one.count
    for labels, count in dropped.items():
        found.add("joinback_client_dropped_events_of_day", count, *labels)
    for finding in {(one.name, one.application or "", one.is_trouble) for one in overview.all_findings}:
        name, application, is_trouble = finding
        found.add("joinback_finding", 1, name, application, "trouble" if is_trouble else "hint")


def _of_application(found: _Families, state: State) -> None:
    name = state.application
    for metric, counter in _OF_COUNTERS.items():
        found.add(metric, state.counters.get(counter, 0), name)
    for metric, prefix in _BY_LABEL.items():
        for counter, count in state.counters.items():
            if counter.startswith(prefix):
                found.add(metric, count, name, counter.removeprefix(prefix))
    found.add("joinback_pending_events", state.books.pending, name)
    found.add("joinback_claimed_events", state.claimed, name)
    found.add("joinback_waiting_for_upgrade_events", state.waiting_for_upgrade, name)
    found.add("joinback_oldest_claimable_age_seconds", state.oldest_claimable_s or 0.0, name)
    found.add("joinback_accounting_difference_events", state.books.difference, name)
    found.add("joinback_dead_letters", state.dead_now, name)
    found.add("joinback_dead_letters_expire_seconds", state.dead_expire_in_s, name)
    found.add("joinback_longest_silence_seconds", state.longest_silence_s, name)
    for metric, at in (
        ("joinback_last_event_timestamp_seconds", state.last_event_at),
        ("joinback_last_feedback_timestamp_seconds", state.last_feedback_at),
        ("joinback_last_drain_timestamp_seconds", state.last_drain_at),
    ):
        found.add(metric, at and at.timestamp(), name)  # type: ignore[arg-type]
