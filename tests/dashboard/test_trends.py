"""The small curve of the overview: what came in equal steps of time, over all shards, and nothing that did not."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from joinback_worker.dashboard.pictures.sparkline import sparkline
from joinback_worker.dashboard.trends import STEPS, steps
from joinback_worker.notes.history import Snapshot

START = datetime(2026, 11, 28, tzinfo=UTC)


def tag(*counts: int, every_s: float = 300) -> list[Snapshot]:
    times = (START + timedelta(seconds=every_s * n) for n in range(len(counts)))
    return [Snapshot(at, {"received:prediction": count}) for at, count in zip(times, counts, strict=True)]


def test_a_steady_stream_is_a_level_line() -> None:
    """Thirty events each five minutes are six per minute."""
    found = steps([tag(*range(0, 30 * (STEPS + 1), 30))])
    assert found == [6.0] * STEPS


def test_without_two_moments_there_is_no_curve() -> None:
    """Of an application that was drained once, or never, nothing is drawn."""
    assert steps([]) == steps([[]]) == steps([tag(7)]) == []
    assert sparkline([]) is None
    assert sparkline([1.0]) is None


def test_counters_that_began_anew_are_no_loss() -> None:
    """After a restart of Redis the counters are smaller; nothing came is all that can be said of that step."""
    assert sum(steps([tag(100, 200, 5, 15)]) or [0]) > 0
    assert min(steps([tag(100, 200, 5, 15)])) == 0


@given(st.lists(st.lists(st.integers(0, 1000), min_size=2, max_size=60), min_size=1, max_size=4))
def test_all_that_came_is_drawn(arrivals: list[list[int]]) -> None:
    """Over any number of shards and drains, the steps add up to what their counters gained."""
    of_tags = [
        tag(*[sum(one[: n + 1]) for n in range(len(one))], every_s=60 * (n + 1)) for n, one in enumerate(arrivals)
    ]
    found = steps(of_tags)
    moments = [one.at for of_tag in of_tags for one in of_tag]
    minutes = (max(moments) - min(moments)).total_seconds() / 60 / STEPS
    assert abs(sum(found) * minutes - sum(sum(one[1:]) for one in arrivals)) < 1e-6
