"""Metrics: what a scrape tells is what `joinback status` shows, by names that stand in one place."""

import re
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Cli, Stack, free_port
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from joinback_worker.metrics.catalogue import METRIC_NAMES, METRICS
from joinback_worker.metrics.collector import JoinbackCollector
from joinback_worker.metrics.exposition import text
from joinback_worker.metrics.families import families
from joinback_worker.notes.reported_drops import ReportedDrops
from joinback_worker.operating.findings import finding
from joinback_worker.operating.states import Overview, Sink, State

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(exposed: str) -> Samples:
    """What a text in Prometheus's format says, as its own client reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposed)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def everything() -> Overview:
    """An overview in which every metric has a sample."""
    state = State(
        application="loans",
        counters={"received:prediction": 2, "in_rows": 1, "duplicates": 1, "unemitted": 0, "dead:after_window": 1},
        dead_now=1,
        dead_expire_in_s=60.0,
        last_event_at=NOON,
        last_feedback_at=NOON,
        last_drain_at=NOON,
        longest_silence_s=3.0,
    )
    drops = [
        ReportedDrops(
            host="a", service="", application="loans", reason="buffer_full", count=n, first_at=NOON, last_at=NOON
        )
        for n in (1, 2)
    ]
    return Overview(
        at=NOON,
        interval_s=300,
        applications=[state],
        drops=drops,
        sinks=[Sink(url="sqlite:////rows.db")],
        findings=[finding("worker_dead", "no worker lives")],
    )


def test_every_name_stands_in_the_catalogue() -> None:
    """The catalogue describes each name, each ends in its unit or in what it counts, and each is told of something."""
    assert set(METRICS) == set(METRIC_NAMES)
    told = {name for name, _ in samples(text(everything()))}
    assert told == set(METRIC_NAMES)
    for name in METRIC_NAMES:
        assert re.fullmatch(r"joinback(_[a-z]+)+", name)


def test_the_labels_are_those_of_the_catalogue() -> None:
    """No sample has another label than its description says."""
    for name, labels in samples(text(everything())):
        assert {label for label, _ in labels} == set(METRICS[name].labels)  # type: ignore[index]


def test_drops_of_several_processes_are_summed() -> None:
    """What several processes of a service tell is one sample."""
    found = samples(text(everything()))
    labels = {"application": "loans", "host": "a", "service": "", "reason": "buffer_full"}
    assert of(found, "joinback_client_dropped_events_of_day", **labels) == 3


def test_without_redis() -> None:
    """Without an answer of Redis a scrape says so, and nothing else."""
    (family,) = families(None)
    assert (family.name, [sample.value for sample in family.samples]) == ("joinback_up", [0.0])


def test_the_books_are_told(stack: Stack, cli: Cli) -> None:
    """`status --prometheus` tells the counters of Redis's books, and what is amiss."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="a")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="b")
    stack.drain()
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="c")
    assert stack.client.flush()
    found = samples(cli("status", "--prometheus").stdout)
    assert of(found, "joinback_up") == 1
    assert of(found, "joinback_received_events_total", application="loans", kind="prediction") == 2
    assert of(found, "joinback_received_events_total", application="loans", kind="feedback") == 2
    assert of(found, "joinback_in_rows_events_total", application="loans") == 3
    assert of(found, "joinback_joined_rows_total", application="loans") == 1
    assert of(found, "joinback_orphan_rows_total", application="loans") == 1
    assert of(found, "joinback_pending_events", application="loans") == 1
    assert of(found, "joinback_accounting_difference_events", application="loans") == 0


def test_a_worker_serves_them(stack: Stack, spawn: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    """A worker with --metrics-port answers a scrape with what Redis says now, and two workers agree."""
    ports = [free_port(), free_port()]
    for port in ports:
        spawn("-m", "joinback_worker", "worker", "--metrics-port", str(port), JOINBACK_INTERVAL_S="1")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush()

    def scraped(port: int) -> Samples:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return samples(answer.read().decode())
        except OSError:
            return {}

    key = ("joinback_in_rows_events_total", frozenset({("application", "loans")}))
    wait_until(lambda: [scraped(port).get(key) for port in ports] == [1.0, 1.0])
    wait_until(lambda: {scraped(port)["joinback_workers", frozenset()] for port in ports} == {2.0})


def test_a_port_that_is_taken(stack: Stack, cli: Cli) -> None:
    """A port that somebody else has is told in one line, before anything is drained."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        done = cli("worker", "--metrics-port", str(other.getsockname()[1]))
    assert done.returncode == 2
    assert "choose another --metrics-port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_registry_of_ones_own(stack: Stack) -> None:
    """A service that has an endpoint adds the collector to its own registry; registering asks nothing of Redis."""
    registry = CollectorRegistry()
    registry.register(JoinbackCollector(stack.settings))
    assert registry.get_sample_value("joinback_up") == 1.0


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0"])
def test_a_scrape_never_fails(url: str) -> None:
    """A scrape while Redis is away is answered, with `joinback_up 0`."""
    from joinback.settings import Settings

    registry = CollectorRegistry()
    registry.register(JoinbackCollector(Settings(redis_url=url)))
    assert registry.get_sample_value("joinback_up") == 0.0
