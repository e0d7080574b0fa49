"""What the Sink protocol promises, on every sink."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from events import at, feedback, prediction, record, records, retraction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from joinback import wire
from joinback.errors import ConfigurationError
from joinback_worker.fold import Record, merge
from joinback_worker.row import Policy, Row, project
from joinback_worker.sinks import Merged, Sink, open_sink

POLICY = Policy(join_window_s=180 * 86_400)
fresh = itertools.count()


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"sqlite": f"sqlite:///{tmp_path}/sink.db"}[request.param]


def on(url: str, *batches: Iterable[Record]) -> tuple[list[Merged], dict[str, Row]]:
    """Merge the batches, each by a sink opened anew; return what each did, and all rows of `loans`."""

    async def run() -> tuple[list[Merged], dict[str, Row]]:
        merged = []
        keys: set[str] = set()
        for batch in batches:
            async with open_sink(url, POLICY) as sink:
                listed = list(batch)
                merged.append(await sink.merge(listed))
                keys.update(r.join_key for r in listed)
        async with open_sink(url, POLICY) as sink:
            return merged, await sink.get("loans", sorted(keys))

    return asyncio.run(run())


def test_an_empty_batch(url: str) -> None:
    """Nothing to do is done."""
    assert on(url, []) == ([Merged()], {})


def test_rows_come_back_whole(url: str) -> None:
    """Every column of a row with everything in it survives the sink."""
    full = record(
        {
            "prediction:p": prediction(0, version="1", environment="e", tags={"t": 1}, sample_rate=0.5),
            "prediction:q": prediction(1, outputs="other"),
            "feedback:f": feedback(60, a=None, b=[1, {"c": "é😀"}]),
            "feedback:g": feedback(70, a=2).replace(b'"at":"2026', b'"at":"2036'),
            "retraction:r": retraction(10, ["z"]),
        }
    )
    _, rows = on(url, [full])
    assert rows == {"k": project(full, POLICY)[0]}


HOSTILE = ["é😀", "a'b\"c;--", "{}[]%_\\", "\r\n\t", "x" * 512, "\u202e", " ", "\x00", "a\x00b"]


@pytest.mark.parametrize("key", HOSTILE)
def test_any_text_is_a_key(url: str, key: str) -> None:
    """Keys, names and values of any text are values: they come back as they went in."""
    awkward = record({"prediction:p": prediction(inputs={key: key}, version=key)}, join_key=key)
    other = record({"prediction:p": prediction()}, join_key="other")
    _, rows = on(url, [awkward, other])
    assert rows.keys() == {key, "other"}
    assert rows[key].version == key
    assert rows[key].inputs is not None
    assert msgspec.json.decode(rows[key].inputs) == {key: key}


def test_a_huge_value(url: str) -> None:
    """A megabyte in one event is a row like any other."""
    _, rows = on(url, [record({"prediction:p": prediction(inputs={"x": "x" * 1_000_000})})])
    assert len(rows["k"].inputs or b"") > 1_000_000


def test_the_same_batch_again_changes_nothing(url: str) -> None:
    """A batch repeated after a crash is counted as rows, and changes none."""
    batch = [record({"prediction:p": prediction(), "feedback:f": feedback(a=1)})]
    (first, second), rows = on(url, batch, batch)
    assert first == second == Merged(rows=1, joined=1)
    assert rows["k"] == project(batch[0], POLICY)[0]


def test_counts(url: str) -> None:
    """Merged tells the state of the rows after the merge, not of the batch before it."""
    (_, second), _ = on(
        url,
        [record({"prediction:p": prediction()}, "a"), record({"feedback:f": feedback(a=1)}, "b")],
        [
            record({"feedback:f": feedback(a=1)}, "a"),
            record({"feedback:g": feedback(a=2)}, "b"),
            record({"prediction:p": prediction(), "prediction:q": prediction(5)}, "c"),
        ],
    )
    assert second == Merged(rows=3, joined=1, orphans=1, conflicts=1)


def test_late_feedback_is_reported_by_the_merge_that_finds_it(url: str) -> None:
    """Feedback whose prediction only the sink remembers is late or not by that prediction."""
    late = feedback(0, a=1).replace(b"2026", b"2027")
    (_, second, third), rows = on(
        url,
        [record({"prediction:p": prediction()})],
        [record({"feedback:late": late})],
        [record({"feedback:fine": feedback(a=2)})],
    )
    assert [event.field for event in second.rejected] == ["feedback:late"]
    assert third.rejected == []
    assert rows["k"].feedback == b'{"a":2}'


def test_ten_thousand_rows(url: str) -> None:
    """A large batch, half of it new, is one merge."""
    first = [record({"prediction:p": prediction(inputs=n)}, f"k{n}") for n in range(5_000)]
    second = [record({"feedback:f": feedback(a=n)}, f"k{n}") for n in range(10_000)]
    (_, merged), rows = on(url, first, second)
    assert merged == Merged(rows=10_000, joined=5_000, orphans=5_000)
    assert len(rows) == 10_000
    assert rows["k17"].inputs == b"17"


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(records.filter(lambda r: r.has_events), min_size=1, max_size=4), st.randoms())
def test_any_order_any_repetition_gives_one_row(url: str, parts: list[Record], random: Any) -> None:
    """However a record's events are split, ordered and repeated, the sink ends with the row of their union."""
    key = f"example_{next(fresh)}"
    for part in parts:
        part.join_key = key
    whole = parts[0]
    for part in parts[1:]:
        whole = merge(whole, part)
    order = parts * 2
    random.shuffle(order)
    _, rows = on(url, *([part] for part in order))
    assert rows[key] == project(whole, POLICY)[0]


def held(url: str, *keys: str) -> dict[str, Row]:
    async def run() -> dict[str, Row]:
        async with open_sink(url, POLICY) as sink:
            return await sink.get("loans", keys)

    return asyncio.run(run())


def closing_at(url: str, before: datetime, **policy: Any) -> int:
    """Close what matured, as a tick without events does."""

    async def run() -> int:
        async with open_sink(url, Policy(join_window_s=1e9, matured_before=before, **policy)) as sink:
            return await sink.close_unlabelled("loans")

    return asyncio.run(run())


def test_unlabelled_rows_are_closed_by_the_clock(url: str) -> None:
    """What matured without feedback is closed, once, with no event to prompt it; nothing else is touched."""
    skewed = prediction(0).replace(b'"at":"2026', b'"at":"2036')
    on(
        url,
        [record({"prediction:p": prediction(n)}, f"k{n:04}") for n in range(2_500)],
        [record({"prediction:p": prediction(0), "feedback:f": feedback(1, a=1)}, "joined")],
        [record({"feedback:f": feedback(1, a=1)}, "orphan")],
        [record({"prediction:p": skewed}, "skewed")],
    )
    assert closing_at(url, at(2_000), default_feedback={"a": 0}) == 2_001
    assert closing_at(url, at(2_000), default_feedback={"a": 0}) == 0
    on(url, [record({"feedback:f": feedback(9_999, a=5)}, "k0007")])
    rows = held(url, "k0007", "k1999", "k2000", "joined", "orphan", "skewed")
    assert {key: (row.status, row.feedback, row.feedback_is_default) for key, row in rows.items()} == {
        "k0007": ("joined", b'{"a":5}', False),
        "k1999": ("unlabelled", b'{"a":0}', True),
        "k2000": ("predicted", None, False),
        "joined": ("joined", b'{"a":1}', False),
        "orphan": ("orphan", b'{"a":1}', False),
        "skewed": ("unlabelled", b'{"a":0}', True),
    }


def test_a_full_row_admits_no_more(url: str) -> None:
    """Beyond the cap new events are returned as rejected with their bytes; what the row held stays."""
    cap = wire.RECORD_EVENTS_MAX
    first = record({"prediction:p": prediction(0)} | {f"feedback:{n}": feedback(n, n=n) for n in range(cap - 1)})
    more = record({f"feedback:more{n}": feedback(9_000 + n, n=n) for n in range(3)})
    (_, merged, again), rows = on(url, [first], [more], [more])
    assert [(event.field, event.reason) for event in merged.rejected] == [
        ("feedback:more1", "feedback_overflow"),
        ("feedback:more2", "feedback_overflow"),
    ]
    assert merged.rejected[0].payload == feedback(9_001, n=1)
    assert again.rejected == merged.rejected
    assert len(msgspec.json.decode(rows["k"].feedback_events or b"{}")) == cap
    assert rows["k"].feedback == b'{"n":0}'


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Sink, Sink]]:
    async with open_sink(url, POLICY) as a, open_sink(url, POLICY) as b:
        yield a, b


def test_two_writers_lose_nothing(url: str) -> None:
    """Two sinks that merge different events of the same keys at the same time end with all of them."""
    keys = [f"k{n}" for n in range(50)]

    def batch(writer: str, turn: int) -> list[Record]:
        order = keys if writer == "a" else keys[::-1]
        return [record({f"feedback:{writer}{turn}": feedback(turn, **{writer: turn})}, key) for key in order]

    async def run() -> dict[str, Row]:
        async with two(url) as (a, b):
            for turn in range(10):
                await asyncio.gather(a.merge(batch("a", turn)), b.merge(batch("b", turn)))
            return await a.get("loans", keys)

    rows = asyncio.run(run())
    assert len(rows) == 50
    for row in rows.values():
        assert len(msgspec.json.decode(row.feedback_events or b"{}")) == 20


def test_the_loop_is_not_blocked(url: str) -> None:
    """While a large batch is merged, the event loop goes on."""
    batch = [record({"prediction:p": prediction(inputs=n)}, f"k{n}") for n in range(5_000)]

    async def run() -> int:
        beats = 0
        async with open_sink(url, POLICY) as sink:
            merging = asyncio.create_task(sink.merge(batch))
            while not merging.done():
                await asyncio.sleep(0)
                beats += 1
            await merging
        return beats

    assert asyncio.run(run()) > 100


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "joinback.db", "", "sqlite://", "sqlite:///", "sqlite://host/joinback.db"]
)
def test_a_url_nobody_serves_is_told(url: str) -> None:
    """A wrong URL is a ConfigurationError that shows a right one."""
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        open_sink(url, POLICY)


def test_schemes_are_those_of_the_fixture() -> None:
    """A new sink must join this suite."""
    from joinback_worker.sinks import _SCHEMES

    fixture: Callable[..., Any] = url
    assert set(fixture._fixture_function_marker.params) == set(_SCHEMES)
