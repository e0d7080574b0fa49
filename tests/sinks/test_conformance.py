"""What the Sink protocol promises, on every sink and its real engine; what a user reads is what `records` answers."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import model
import msgspec
import pytest
from conftest import PATIENCE_S
from crash_steps import batch_of
from engines import EACH_ENGINE, ENGINES, JSON, Engine
from events import RULES, at, feedback, prediction, record, records, retraction
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import structs
from ruled import file, policy, reducing

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkRefused
from joinback_worker.law.record import Record, merge
from joinback_worker.law.row import Row, project
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Merged, Sink, open_sink

POLICY = Policy()
fresh = itertools.count()


@pytest.fixture(params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def on(url: str, *batches: Iterable[Record], policy: Policy = POLICY) -> tuple[list[Merged], dict[str, Row]]:
    """Merge the batches, each by a sink opened anew; return what each did, and all rows of `loans`."""

    async def run() -> tuple[list[Merged], dict[str, Row]]:
        merged = []
        keys: set[str] = set()
        for batch in batches:
            async with open_sink(url, policy) as sink:
                listed = list(batch)
                merged.append(await sink.merge(listed))
                keys.update(r.join_key for r in listed)
        async with open_sink(url, policy) as sink:
            return merged, await sink.get("loans", sorted(keys))

    return asyncio.run(run())


def read(row: Row) -> dict[str, Any]:
    """A row as SQL answers it, in Python's types."""
    cells = of_row(structs.asdict(row))
    return {name: msgspec.json.decode(cell) if name in JSON and cell else cell for name, cell in cells.items()}


def expected(*wholes: Record, policy: Policy = POLICY) -> dict[str, dict[str, Any]]:
    return {whole.join_key: read(project(whole, policy)[0]) for whole in wholes}


def of_row(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Without what tells of the writing, not of the record, and what no view has."""
    return {name: cell for name, cell in cells.items() if name not in ("updated_at", "row_version", "matures_at")}


def in_records(engine: Engine, url: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """`records` by join key, but for `updated_at` and `row_version`, which every row has."""
    rows = engine.rows(url, Settings(**settings))
    for cells in rows.values():
        assert cells["updated_at"] <= datetime.now(UTC)
        assert cells["row_version"] >= 1
    return {key: of_row(cells) for key, cells in rows.items()}


# --- what goes in comes out ----------------------------------------------------------------------------------


def test_an_empty_batch(url: str) -> None:
    """Nothing to do is done."""
    assert on(url, []) == ([Merged()], {})


FULL = {
    "prediction:p": prediction(0, version="1", environment="e", tags={"t": 1}, sample_rate=0.5),
    "prediction:q": prediction(1, outputs="other"),
    "feedback:f": feedback(60, a=None, b=[1, {"c": "é😀"}]),
    "feedback:g": feedback(70, a=2).replace(b'"at":"2026', b'"at":"2036'),
    "retraction:r": retraction(10, ["z"]),
}


def test_rows_come_back_whole(engine: Engine, url: str) -> None:
    """Every column of a row with everything in it survives the sink, for `get` and for SQL."""
    full = record(FULL)
    _, rows = on(url, [full])
    assert read(rows["k"]) == expected(full)["k"]
    assert in_records(engine, url) == expected(full)


def test_the_records_of_one_application(engine: Engine, url: str) -> None:
    """`records` gives every event that was merged, or those of one application, whatever its neighbours are called."""
    # More than a page of any engine.
    names = {"loan": 50, "loans": 600, "loans ": 50, "loans/1": 50}
    fields = {"prediction:p": prediction(), "feedback:f": feedback(a=1)}
    batch = [structs.replace(record(fields, f"k{n}"), application=name) for name in names for n in range(names[name])]

    async def read(application: str | None) -> list[Record]:
        async with open_sink(url, POLICY, read_only=True) as sink:
            return [record async for page in sink.records(application) for record in page]

    def places(records: Iterable[Record]) -> set[tuple[str, str, str]]:
        return {(r.application, r.join_key, field) for r in records for field in r.fields}

    on(url, batch)
    assert places(asyncio.run(read(None))) == places(batch)
    for name in names:
        assert places(asyncio.run(read(name))) == places(r for r in batch if r.application == name)
    assert asyncio.run(read("loa")) == []


def test_nulls(engine: Engine, url: str) -> None:
    """What a row lacks is NULL, and a JSON null is a value."""
    orphan = record({"feedback:f": feedback(1, a=None)}, "orphan")
    bare = record({"prediction:p": prediction(inputs=None, outputs=None)}, "bare")
    _, rows = on(url, [orphan, bare])
    assert in_records(engine, url) == expected(orphan, bare)
    assert rows["orphan"].inputs is None
    assert rows["bare"].inputs == b"null"


HOSTILE = [
    "é😀",
    "a'b\"c;--",
    "{}[]%_\\",
    "\r\n\t",
    "x" * 512,
    "\u202e",
    " ",
    "\x00",
    "a\x00b",
    "\\N",
    "\x7f",
    "\ufeff",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_any_text(engine: Engine, url: str, text: str) -> None:
    """Keys, names and values of any text come back as they went in; or, where the engine has no NUL, are refused."""
    awkward = record(
        {"prediction:p": prediction(inputs={text: text}, version=text), f"feedback:{text}": feedback(1, **{text: text})}
        if text.isprintable()
        else {"prediction:p": prediction(inputs={text: text}, version=text), "feedback:f": feedback(1, **{text: text})},
        join_key=text,
    )
    other = record({"prediction:p": prediction()}, join_key="other")
    if "\0" in text and not engine.holds_nul:
        with pytest.raises(SinkRefused):
            on(url, [awkward, other])
        on(url, [other])
        assert in_records(engine, url) == expected(other)
        return
    _, rows = on(url, [awkward, other])
    assert rows.keys() == {text, "other"}
    assert in_records(engine, url) == expected(awkward, other)


def test_json_as_another_producer_writes_it(engine: Engine, url: str) -> None:
    """JSON in several lines, with its own spaces and forms of numbers, is the value that it is."""
    pretty = {
        "prediction:p": msgspec.json.format(prediction(inputs={"a": [1, {"b": None}]}, tags={"t": [1, 2]}), indent=2),
        "feedback:f": msgspec.json.format(feedback(5, a={"b": 1.0}), indent=4).replace(b"\n", b"\r\n"),
    }
    written = record(pretty)
    _, rows = on(url, [written], [written], [record({"feedback:g": feedback(9, c=1)})])
    whole = merge(written, record({"feedback:g": feedback(9, c=1)}))
    assert read(rows["k"]) == expected(whole)["k"]
    assert in_records(engine, url) == expected(whole)


def test_times_of_any_year(engine: Engine, url: str) -> None:
    """Event times in the years 1 and 9999 keep their order, and stop no batch."""
    ancient = prediction(0).replace(b'"at":"2026', b'"at":"0001')
    future = feedback(60, a=2).replace(b'"at":"2026', b'"at":"9999')
    far = record({"prediction:p": ancient, "prediction:q": prediction(), "feedback:f": future})
    wide = policy(join_window_s=3_153_600_000)
    _, rows = on(url, [far, record({"prediction:p": prediction()}, "near")], policy=wide)
    assert read(rows["k"]) == expected(far, policy=wide)["k"]
    found = in_records(engine, url, join_window_s=3_153_600_000)
    assert found["k"]["prediction_event_id"] == "p"
    assert found["near"]["status"] == "predicted"


def test_huge_values(engine: Engine, url: str) -> None:
    """A megabyte in one event is a row like any other, and so are numbers of many digits."""
    huge = record({"prediction:p": prediction(inputs={"x": "x" * 1_000_000, "n": 10**40})})
    _, rows = on(url, [huge])
    assert read(rows["k"])["inputs"] == {"x": "x" * 1_000_000, "n": 10**40}
    assert in_records(engine, url) == expected(huge)


# --- the law -------------------------------------------------------------------------------------------------


def test_the_same_batch_again_changes_nothing(engine: Engine, url: str) -> None:
    """A batch repeated after a crash is counted as rows, and changes none."""
    batch = [record(FULL), record({"prediction:p": prediction(), "feedback:f": feedback(a=1.0, b=10**20)}, "l")]
    (first,), _ = on(url, batch)
    before = engine.rows(url)
    (second,), _ = on(url, batch)
    assert first == second == Merged(rows=2, joined=2, conflicts=1)
    after = engine.rows(url)
    assert {key: row["row_version"] for key, row in after.items()} == {
        key: row["row_version"] for key, row in before.items()
    }
    assert in_records(engine, url) == expected(*batch)


def test_late_join_healing_and_retraction(engine: Engine, url: str) -> None:
    """Feedback that comes long after joins; an orphan heals; what is taken back is gone, but for its history."""
    histories = {
        "late": {"prediction:p": prediction(), "feedback:f": feedback(86_400 * 100, a=1)},
        "orphan": {"feedback:f": feedback(a=1), "prediction:p": prediction(-5)},
        "retracted": {
            "prediction:p": prediction(),
            "feedback:f": feedback(a=1, b=2),
            "retraction:r": retraction(90, ["a"]),
        },
    }
    batches = [
        [
            record({field: history[field]}, key)
            for key, history in histories.items()
            for field in list(history)[n : n + 1]
        ]
        for n in range(3)
    ]
    on(url, batches[0])
    assert {key: row["status"] for key, row in in_records(engine, url).items()} == {
        "late": "predicted",
        "orphan": "orphan",
        "retracted": "predicted",
    }
    on(url, batches[1], batches[2])
    assert in_records(engine, url) == expected(*(record(events, key) for key, events in histories.items()))


def test_counts(engine: Engine, url: str) -> None:
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
    joined = int(engine.looks_up)
    assert second == Merged(rows=3, joined=joined, orphans=2 - joined, conflicts=1)


def test_late_feedback_is_reported_by_the_merge_that_finds_it(engine: Engine, url: str) -> None:
    """Feedback whose prediction only the sink remembers is late or not by that prediction, and has no say if late."""
    late = feedback(0, a=1).replace(b"2026", b"2027")
    parts: list[dict[str, bytes]] = [
        {"prediction:p": prediction()},
        {"feedback:late": late},
        {"feedback:fine": feedback(a=2)},
    ]
    (_, second, third), rows = on(url, *([record(part)] for part in parts))
    assert [event.field for event in second.rejected] == (["feedback:late"] if engine.looks_up else [])
    assert third.rejected == []
    assert rows["k"].feedback == b'{"a":2}'
    assert in_records(engine, url) == expected(record(parts[0] | parts[1] | parts[2]))


def test_any_order_any_repetition_gives_one_row(engine: Engine, url: str, tmp_path: Path) -> None:
    """However events are split, ordered, repeated and taken back, `get` and `records` answer the row of their union."""

    @hypothesis_settings(max_examples=engine.examples)
    @given(
        st.lists(st.lists(some_events, min_size=1, max_size=4), min_size=1, max_size=4),
        st.randoms(),
        st.sampled_from(RULES),
    )
    def check(histories: list[list[Record]], random: Any, rules: dict[str, Any]) -> None:
        wholes = {}
        parts: list[Record] = []
        for pieces in histories:
            key = f"example_{next(fresh)}"
            for part in pieces:
                part.join_key = key
            wholes[key] = reduce(merge, pieces)
            parts += pieces
        order = parts * 2
        random.shuffle(order)
        now = datetime.now(UTC)
        _, rows = on(url, *batches_of(order), policy=policy(now, **rules))
        want = expected(*wholes.values(), policy=policy(now, **rules))
        assert {key: read(row) for key, row in rows.items()} == want
        found = in_records(engine, url, config=file(tmp_path, loans=rules))
        assert {key: found[key] for key in wholes} == want
        for key, whole in wholes.items():
            assert model.parts_of(found[key]) == model.row(model.events_of(whole), rules=rules, now=now)

    check()


some_events = records.filter(lambda r: r.has_events)


def batches_of(order: list[Record]) -> list[list[Record]]:
    """The records in their order, cut where a key comes again: a call never holds one twice."""
    batches: list[list[Record]] = [[]]
    for part in order:
        if part.join_key in {held.join_key for held in batches[-1]}:
            batches.append([])
        batches[-1].append(part)
    return batches


def test_a_full_row_admits_no_more(engine: Engine, url: str) -> None:
    """Beyond the cap new events are returned as rejected with their bytes; what the row held stays."""
    cap = wire.RECORD_EVENTS_MAX
    first = record({"prediction:p": prediction(0)} | {f"feedback:{n}": feedback(n, n=n) for n in range(cap - 1)})
    more = record({f"feedback:more{n}": feedback(9_000 + n, n=n) for n in range(3)})
    if not engine.looks_up:
        more = merge(first, more)  # by what the batch itself holds
    (_, merged, again), rows = on(url, [first], [more], [more])
    assert [(event.field, event.reason) for event in merged.rejected] == [
        ("feedback:more1", "feedback_overflow"),
        ("feedback:more2", "feedback_overflow"),
    ]
    assert merged.rejected[0].payload == feedback(9_001, n=1)
    assert again.rejected == merged.rejected
    assert len(msgspec.json.decode(rows["k"].feedback_events or b"{}")) == cap
    assert rows["k"].feedback == b'{"n":0}'
    assert in_records(engine, url)["k"] == read(rows["k"])


REDUCERS = {"s": "sum", "m": "mean", "lo": "min", "hi": "max", "n": "count", "most": "majority", "one": "first"}


def test_reducers(engine: Engine, url: str, tmp_path: Path) -> None:
    """Every reducer gives in SQL what it gives in Python: of numbers, of big ones, of texts, nulls and ties."""
    histories = {
        "whole": [1, 2, 2],
        "mixed": [1, 0.1, 0.2, True, None, "x", [1]],
        "none": [None, "x", {}],
        "big": [2**62, 2**62, -1],
        "ties": ["a", "b", "b", "a"],
    }
    wholes = [
        record(
            {"prediction:p": prediction()}
            | {f"feedback:{n}": feedback(n, **dict.fromkeys(REDUCERS, value)) for n, value in enumerate(values)},
            key,
        )
        for key, values in histories.items()
    ]
    rules = reducing(**REDUCERS)
    on(url, wholes, policy=policy(**rules))
    rows = in_records(engine, url, config=file(tmp_path, loans=rules))
    for key, row in expected(*wholes, policy=policy(**rules)).items():
        assert rows[key]["feedback"].keys() == row["feedback"].keys()
        for name, value in row["feedback"].items():
            # Floats are added up in another order.
            near = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            assert rows[key]["feedback"][name] == near, (key, name)


# --- maturity ------------------------------------------------------------------------------------------------


def closing_at(url: str, policy: Policy) -> int:
    """Close what matured, as a tick without events does."""

    async def run() -> int:
        async with open_sink(url, policy) as sink:
            return await sink.close_matured("loans")

    return asyncio.run(run())


def test_unlabelled_rows_are_closed_by_the_clock(engine: Engine, url: str, tmp_path: Path) -> None:
    """What matured without feedback is closed, once, with no event to prompt it; nothing else is touched."""
    skewed = prediction(0).replace(b'"at":"2026', b'"at":"2036')
    on(
        url,
        [record({"prediction:p": prediction(60 * n)}, f"k{n:04}") for n in range(2_500)],
        [record({"prediction:p": prediction(0), "feedback:f": feedback(1, a=1)}, "joined")],
        [record({"feedback:f": feedback(1, a=1)}, "orphan")],
        [record({"prediction:p": skewed}, "skewed")],
    )
    closed = 2_001 if engine.closes_by_writing else 0
    # A view is told an age, not a moment; in half a minute nothing matures.
    now = datetime.now(UTC)
    rules = {"maturity_s": int((now - at(60 * 1_999.5)).total_seconds()), "feedback": {"a": {"default": 0}}}
    assert closing_at(url, policy(now, **rules)) == closed
    assert closing_at(url, policy(now, **rules)) == 0
    on(url, [record({"feedback:f": feedback(999_999, a=5)}, "k0007")], policy=policy(now, **rules))
    rows = in_records(engine, url, config=file(tmp_path, loans=rules))
    assert len(rows) == 2_503
    wanted = {
        "k0007": ("joined", {"a": 5}, None),
        "k1999": ("unlabelled", {"a": 0}, ["a"]),
        "k2000": ("predicted", None, None),
        "joined": ("joined", {"a": 1}, None),
        "orphan": ("orphan", {"a": 1}, None),
        "skewed": ("unlabelled", {"a": 0}, ["a"]),
    }
    columns = ("status", "feedback", "default_fields")
    assert {key: tuple(rows[key][column] for column in columns) for key in wanted} == wanted


# --- rules per field -----------------------------------------------------------------------------------------


def by_rules(
    engine: Engine, url: str, tmp_path: Path, rules: Mapping[str, Any], histories: Mapping[str, Mapping[str, bytes]]
) -> dict[str, Any]:
    """Merge each event by itself, the last ones first; return the feedback by key, of rows that are the law's."""
    now = datetime.now(UTC)
    pieces = [record({field: body}, key) for key, fields in histories.items() for field, body in fields.items()]
    on(url, *([piece] for piece in reversed(pieces)), policy=policy(now, **rules))
    closing_at(url, policy(now, **rules))
    rows = in_records(engine, url, config=file(tmp_path, loans=rules))
    assert rows == expected(*(record(fields, key) for key, fields in histories.items()), policy=policy(now, **rules))
    return {key: rows[key]["feedback"] for key in histories}


def test_fields_that_mature_by_themselves(engine: Engine, url: str, tmp_path: Path) -> None:
    """A field that nobody told in time says its default, whatever other fields were told; labels decide the status."""
    bought = {"maturity_s": 1, "default": False}
    seen = {"maturity_s": 3_153_600_000, "default": 0}
    rules = {"join_window_s": 3_153_600_000, "labels": ["bought"], "feedback": {"bought": bought, "seen": seen}}
    told = by_rules(
        *(engine, url, tmp_path, rules),
        {
            "clicked": {"prediction:p": prediction(), "feedback:f": feedback(5, clicked=True)},
            "bought": {"prediction:p": prediction(), "feedback:f": feedback(5, clicked=True, bought=True)},
            "orphan": {"feedback:f": feedback(5, clicked=True)},
        },
    )
    assert told["clicked"] == {"bought": False, "clicked": True}
    assert told["bought"] == {"bought": True, "clicked": True}
    assert told["orphan"] == {"clicked": True}
    rows = in_records(engine, url, config=file(tmp_path, loans=rules))
    assert {key: row["status"] for key, row in rows.items()} == {
        "clicked": "unlabelled", "bought": "joined", "orphan": "orphan",
    }  # fmt: skip


def test_events_taken_back_by_name(engine: Engine, url: str, tmp_path: Path) -> None:
    """One event, or one field of it, is taken back by its id; and counts again if the retraction is taken back."""
    clicks = {"prediction:p": prediction()} | {
        f"feedback:{n}": feedback(n, n=v, m=v) for n, v in ((1, 3), (2, 400), (3, 2))
    }
    one = {"retraction:r": retraction(4, event_ids=["2"])}
    undone = {"retraction:u": retraction(5, retraction_ids=["r"])}
    told = by_rules(
        *(engine, url, tmp_path, reducing(n="sum", m="sum")),
        {
            "all": clicks,
            "one": clicks | one,
            "field": clicks | {"retraction:r": retraction(4, ["n"], event_ids=["2"])},
            "undone": clicks | one | undone,
            "redone": clicks
            | one
            | {
                "retraction:u": retraction(5, retraction_ids=["r"]),
                "retraction:v": retraction(6, retraction_ids=["u"]),
            },
        },
    )
    assert {key: (feedback["n"], feedback["m"]) for key, feedback in told.items()} == {
        "all": (405, 405), "one": (5, 5), "field": (5, 405), "undone": (405, 405), "redone": (5, 5),
    }  # fmt: skip


def test_sources_in_order_of_trust(engine: Engine, url: str, tmp_path: Path) -> None:
    """Of a field whose sources are ranked, the values of the best source that stands count, and no others."""
    human, rule, model_ = feedback(1, "human", a=1, b=1), feedback(2, "rule", a=2, b=2), feedback(3, "model", a=3, b=3)
    history = {"prediction:p": prediction(), "feedback:h": human, "feedback:r": rule, "feedback:m": model_}
    told = by_rules(
        *(engine, url, tmp_path, {"feedback": {"a": {"sources": ["human", "rule"]}}}),
        {
            "human": history,
            "rule": history | {"retraction:t": retraction(4, event_ids=["h"])},
            "model": history | {"retraction:t": retraction(4, event_ids=["h", "r"])},
        },
    )
    assert told == {"human": {"a": 1, "b": 3}, "rule": {"a": 2, "b": 3}, "model": {"a": 3, "b": 3}}


def test_types_that_drift(engine: Engine, url: str, tmp_path: Path) -> None:
    """What surely is a value of the declared type is one, so that it is counted with its like; the rest is kept."""
    values = [
        True,
        "true",
        "TRUE",
        1,
        1.0,
        "1",
        0,
        "12",
        12,
        12.0,
        "12.0",
        "0.5",
        "1e2",
        "x",
        "007",
        None,
        [1],
        "1e400",
    ]
    types: dict[str, Any] = {"b": "bool", "i": "int", "f": "float", "s": "str", "c": ["x", "12"]}
    rules = {"feedback": {name: {"type": kind, "reducer": "majority"} for name, kind in types.items()}}
    histories = {
        f"k{n}": {"prediction:p": prediction(), "feedback:f": feedback(1, **dict.fromkeys(types, value))}
        for n, value in enumerate(values)
    }
    histories["drift"] = {
        f"feedback:{n}": feedback(n, b=value) for n, value in enumerate([False, "true", 1, False, True])
    }
    told = by_rules(engine, url, tmp_path, rules, histories)
    assert told["k1"] == {"b": True, "c": "true", "f": "true", "i": "true", "s": "true"}
    assert told["k7"] == {"b": "12", "c": "12", "f": 12, "i": 12, "s": "12"}
    assert told["drift"] == {"b": True}


# --- several writers, deaths, and size -----------------------------------------------------------------------


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Sink, Sink]]:
    async with open_sink(url, POLICY) as a, open_sink(url, POLICY) as b:
        yield a, b


def test_two_writers_lose_nothing(engine: Engine, url: str) -> None:
    """Two sinks that merge different events of the same keys at the same time end with all of them."""
    keys = [f"k{n}" for n in range(50)]
    turns = 10

    def batch(writer: str, turn: int) -> list[Record]:
        order = keys if writer == "a" else keys[::-1]
        return [record({f"feedback:{writer}{turn}": feedback(turn, **{writer: turn})}, key) for key in order]

    async def run() -> None:
        async with two(url) as (a, b):
            for turn in range(turns):
                await asyncio.gather(a.merge(batch("a", turn)), b.merge(batch("b", turn)))

    asyncio.run(run())
    wholes = []
    for key in keys:
        events = {f"feedback:{w}{turn}": feedback(turn, **{w: turn}) for w in "ab" for turn in range(turns)}
        wholes.append(record(events, key))
    assert in_records(engine, url) == expected(*wholes)


def test_a_crash_at_each_step_then_a_replay(engine: Engine, url: str) -> None:
    """A writer killed by SIGKILL at any step of a merge leaves all of the batch or nothing; a replay completes it."""
    on(url, [record({"prediction:p": prediction()}, "before")])
    script = Path(__file__).with_name("crash_steps.py")
    done = subprocess.run([sys.executable, script, url], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    steps = [int(step) for step in done.stdout.split()]
    assert len(steps) > 12

    rows = in_records(engine, url)
    wholes = {whole.join_key: whole for step in steps for whole in map(merge_held, batch_of(step))}
    want = expected(*wholes.values())
    left = [sum(rows.get(r.join_key) == want[r.join_key] for r in batch_of(step)) for step in steps]
    assert set(left) <= {0, len(batch_of(0))}, dict(zip(steps, left, strict=True))
    # The first died before the commit; the last one lived.
    assert left[0] == 0
    assert left[-1] == len(batch_of(0))
    on(url, *(batch_of(step) for step in steps), *(batch_of(step) for step in steps[::-1]))
    assert in_records(engine, url) == want | expected(record({"prediction:p": prediction()}, "before"))


def merge_held(part: Record) -> Record:
    """All of the events of a record of `batch_of`."""
    return merge(part, record({"prediction:p": prediction()}, part.join_key))


def test_what_is_erased_is_gone_and_nothing_else(engine: Engine, url: str) -> None:
    """`erase` takes all rows and events of a key, of one application; a second time there is none left to take."""
    keys = [text for text in HOSTILE if "\0" not in text or engine.holds_nul] + ["k1", "k10"]
    served = {field: FULL[field] for field in ("prediction:p", "feedback:f")}
    told = {"feedback:x": feedback(90, a=3)}
    namesake = structs.replace(record(FULL, "k1"), application="loan")
    on(url, *([record(some, key) for key in keys] for some in (FULL, served, told)), [namesake])

    async def erase(application: str, *erased: str) -> int:
        async with open_sink(url, POLICY) as sink:
            return await sink.erase(application, erased)

    def left() -> dict[str, dict[str, Any]]:
        async def run() -> dict[str, Row]:
            async with open_sink(url, POLICY) as sink:
                assert set(await sink.get("loan", ["k1"])) == {"k1"}
                return await sink.get("loans", keys)

        return {key: read(row) for key, row in asyncio.run(run()).items()}

    assert asyncio.run(erase("loans")) == asyncio.run(erase("loans", "k")) == asyncio.run(erase("loa", "k1")) == 0
    whole = expected(*(record(FULL | told, key) for key in keys))
    assert left() == whole
    for first in range(0, len(keys), 2):
        erased = keys[first : first + 2]
        assert asyncio.run(erase("loans", *erased, "nobody")) >= len(erased)
        assert asyncio.run(erase("loans", *erased)) == 0
        whole = {key: row for key, row in whole.items() if key not in erased}
        assert left() == whole
    assert engine.rows(url).keys() == {"k1"}
    # It is no tombstone: what is merged later is a row.
    again = record({"prediction:again": prediction(7)}, "k10")
    on(url, [again])
    assert left() == expected(again)


def test_erasing_beside_a_writer(engine: Engine, url: str) -> None:
    """What another one merges meanwhile stands whole, also if it merges the very keys; and what is erased is gone."""
    turns = 10
    kept = [[record(FULL, f"kept{turn}_{n}") for n in range(20)] for turn in range(turns)]
    erased = [f"erased{n:02}" for n in range(20)]

    async def run() -> None:
        async with two(url) as (writer, eraser):
            for turn in range(turns):
                late = [record({f"feedback:{turn}": feedback(a=turn)}, key) for key in erased]
                await asyncio.gather(writer.merge(late + kept[turn]), eraser.erase("loans", erased[::-1]))
            await eraser.erase("loans", erased)

    asyncio.run(run())
    assert in_records(engine, url) == expected(*itertools.chain(*kept))


@pytest.mark.heavy
def test_a_hundred_thousand_rows(engine: Engine, url: str) -> None:
    """Batches of thousands, half of whose keys are old, end as 100,000 rows, each as the model has it."""
    size = 10_000

    async def run() -> None:
        async with open_sink(url, POLICY) as sink:
            for first in range(0, 100_000, size):
                new = [record({"prediction:p": prediction(n, inputs=n)}, f"k{n}") for n in range(first, first + size)]
                old = [
                    record({"feedback:f": feedback(n, a=n)}, f"k{n}") for n in range(first - size, first, 2) if n >= 0
                ]
                merged = await sink.merge(new + old)
                assert merged.rows == len(new) + len(old)

    asyncio.run(run())
    rows = in_records(engine, url)
    assert len(rows) == 100_000
    for n in range(100_000):
        labelled = n % 2 == 0 and n < 100_000 - size
        row = rows[f"k{n}"]
        assert (row["status"], row["inputs"]) == ("joined" if labelled else "predicted", n)
        assert row["feedback"] == ({"a": n} if labelled else None)


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

    assert asyncio.run(run()) > 10


# --- URLs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "duckdb:///joinback.duckdb",
        "joinback.db",
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/joinback.db",
        "postgresql://u:p@[host/db",
        "clickhouse://",
        "clickhouse://host:port/db",
        "clickhouse://host/db?secure=1",
        "chdb:///",
        "delta://bucket/table",
        "delta+s3://bucket",
        "parquet://host/x",
        "jsonl:///",
        "stdout:x",
    ],
)
def test_a_url_nobody_serves_is_told(url: str) -> None:
    """A wrong URL is a ConfigurationError that shows a right one."""
    with pytest.raises(ConfigurationError, match=r"sqlite:///|write \w+"):
        open_sink(url, POLICY)


def test_every_sink_is_in_this_suite() -> None:
    """A new sink must join; `stdout` holds nothing, and the others are second names."""
    from joinback_worker.sinks.schemes import SCHEMES

    assert set(ENGINES) == set(SCHEMES) - {"stdout", "embedded", "chdb", "clickhouses", "postgres"}
