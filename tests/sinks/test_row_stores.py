"""What row stores leave alone: a merge reads and writes of a row that is there only what it can change."""

import asyncio
import random
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from engines import ENGINES, Engine, named
from events import at, feedback, prediction, record, retraction
from postgres_server import shared_server
from ruled import policy

from joinback_worker.law.record import Record, merge
from joinback_worker.law.row import project
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Merged, Sink, merge_on_write, open_sink

POLICY = Policy()
PREDICTED = (
    "predicted_at",
    "inputs",
    "outputs",
    "tags",
    "conflicts",
    "sample_rate",
    "logged_at",
    "prediction_event_id",
)


@pytest.fixture(params=named("sqlite", "postgresql"))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        asyncio.run(with_sink(url, nothing))
        yield url


async def nothing(sink: Any) -> None:
    """Only opens it."""


async def with_sink(url: str, use: Callable[[Any], Any], policy: Policy = POLICY) -> Any:
    async with open_sink(url, policy) as sink:
        return await use(sink)


def merged(url: str, *batches: Sequence[Record], policy: Policy = POLICY) -> list[Merged]:
    async def use(sink: Sink) -> list[Merged]:
        return [await sink.merge(batch) for batch in batches]

    found: list[Merged] = asyncio.run(with_sink(url, use, policy))
    return found


def refuse_updates_of(engine: Engine, url: str, columns: Sequence[str]) -> None:
    """Who writes one of these columns of a row that is there fails, even with what stands there."""
    run(engine, url, *{
        "sqlite": [
            f"CREATE TRIGGER untouched BEFORE UPDATE OF {', '.join(columns)} ON records"
            " BEGIN SELECT RAISE(ABORT, 'written'); END"
        ],
        "postgresql": [
            "CREATE FUNCTION untouched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'written'; END $$",
            f"CREATE TRIGGER untouched BEFORE UPDATE OF {', '.join(columns)} ON records"
            " FOR EACH ROW EXECUTE FUNCTION untouched()",
        ],
    }[engine.name])  # fmt: skip


def run(engine: Engine, url: str, *statements: str) -> None:
    async def use(sink: Sink) -> None:
        await sink.run_sql(statements)

    asyncio.run(with_sink(url, use))


def held(url: str, *keys: str) -> Mapping[str, Any]:
    async def use(sink: Sink) -> Mapping[str, Any]:
        return await sink.get("loans", keys)

    found: Mapping[str, Any] = asyncio.run(with_sink(url, use))
    return found


SERVED = {"prediction:p": prediction(tags={"batch": "monday"}, version="1", sample_rate=0.5)}
LATE = prediction(5, outputs=0.9)


def test_what_is_told_writes_no_prediction(engine: Engine, url: str) -> None:
    """A label, a correction, a retraction, a label whose prediction comes once more: none writes a prediction's column.

    Nor does what the clock or new rules change.
    """
    merged(url, [record(SERVED, key) for key in "abcd"], [record({"feedback:f": feedback(a=1)}, "orphan")])
    refuse_updates_of(engine, url, [*PREDICTED, "join_key", *(["prediction"] if engine.name == "postgresql" else [])])
    parts = {
        "a": {"feedback:f": feedback(a=1)},
        "b": SERVED | {"feedback:f": feedback(b=2)},
        "orphan": {"feedback:g": feedback(70, a=2)},
    }
    merged(url, [record(part, key) for key, part in parts.items()], [record({"retraction:r": retraction()}, "a")])
    now = policy(at(10_000), maturity_s=60)

    async def by_the_clock(sink: Sink) -> tuple[int, int]:
        return await sink.close_matured("loans"), (await sink.refold("loans")).total()

    assert asyncio.run(with_sink(url, by_the_clock, now)) == (3, 0)
    wholes = [record(SERVED | parts["a"] | {"retraction:r": retraction()}, "a"), record(parts["b"], "b")]
    wholes += [record(SERVED, key) for key in "cd"]
    wholes.append(record({"feedback:f": feedback(a=1)} | parts["orphan"], "orphan"))
    assert held(url, *"abcd", "orphan") == {whole.join_key: project(whole, now)[0] for whole in wholes}


def test_another_prediction_writes_the_row_whole(url: str) -> None:
    """A prediction that wins, loses, heals an orphan or differs under one id is written, with all that follows."""
    first = {"a": SERVED, "b": SERVED, "c": SERVED, "orphan": {"feedback:f": feedback(a=1)}}
    then = {
        "a": {"prediction:early": prediction(-5, outputs=0.1)},
        "b": {"prediction:late": LATE, "feedback:f": feedback(a=1)},
        "c": {"prediction:p": prediction(outputs=0.7)},
        "orphan": SERVED,
    }
    parts = [[record(events, key) for key, events in batch.items()] for batch in (first, then)]
    merged(url, *parts)
    wholes = [merge(a, b) for a, b in zip(*parts, strict=True)]
    assert held(url, *first) == {whole.join_key: project(whole, POLICY)[0] for whole in wholes}


def test_a_label_holds_no_prediction_in_memory(url: str) -> None:
    """Labels of rows with large inputs cost the memory of the labels, not of the inputs."""
    size, rows = 400_000, 100
    keys = [f"k{n}" for n in range(rows)]
    for key in keys:
        merged(url, [record({"prediction:p": prediction(inputs="x" * size)}, key)])
    labels = [record({"feedback:f": feedback(a=1)}, key) for key in keys]

    async def use(sink: Sink) -> int:
        tracemalloc.start()
        try:
            assert (await sink.merge(labels)).joined == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert asyncio.run(with_sink(url, use)) < size * rows / 10


def test_a_merge_holds_a_part_of_the_rows_in_memory(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows with long histories a merge meets, it holds some of them at a time."""
    monkeypatch.setattr(merge_on_write, "PART_ROWS", 5)
    size, rows = 400_000, 60
    keys = [f"k{n:02}" for n in range(rows)]
    for key in keys:
        merged(url, [record({"prediction:p": prediction(), "feedback:long": feedback(a="x" * size)}, key)])
    labels = [record({"feedback:f": feedback(90, a=1)}, key) for key in keys]

    async def use(sink: Sink) -> int:
        tracemalloc.start()
        try:
            assert (await sink.merge(labels)).joined == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Of each of the five the cell, its events, and the row that is made of them.
    assert asyncio.run(with_sink(url, use)) < size * rows


def test_a_batch_of_what_is_there_and_what_is_not(engine: Engine, url: str) -> None:
    """Predictions that were merged before, one of them with news, among new ones: each is counted and written once."""
    old = [record(SERVED, key) for key in "ace"]
    merged(url, old)
    batch = [*old[:2], record(SERVED | {"prediction:late": LATE}, "e"), *(record(SERVED, key) for key in "bdf")]
    assert merged(url, batch, batch) == [Merged(rows=6, conflicts=1)] * 2
    versions = {row["join_key"]: row["row_version"] for row in engine.rows(url).values()}
    assert versions == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 2, "f": 1}


def test_writers_that_meet_everywhere(engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers with old and new keys, labels and predictions, in any order: the union, and no deadlock."""
    monkeypatch.setattr(merge_on_write, "PART_ROWS", 7)
    chance = random.Random(3)
    keys = [f"k{n:03}" for n in range(90)]
    deadlocks = shared_server().log().count("deadlock detected")
    given: list[Record] = [record(SERVED, key) for key in keys[::3]]
    merged(url, given)

    def batch(writer: str, turn: int) -> list[Record]:
        parts: list[dict[str, bytes]] = [
            {f"feedback:{writer}{turn}": feedback(turn, **{writer: turn})},
            SERVED,
            SERVED | {f"feedback:{writer}{turn}": feedback(turn, **{writer: turn})},
            {f"prediction:{writer}": prediction(turn, outputs=writer)},
        ]
        return [record(chance.choice(parts), key) for key in chance.sample(keys, 60)]

    async def merge_all() -> None:
        sinks = [open_sink(url, POLICY) for _ in range(3)]
        await asyncio.gather(*(sink.__aenter__() for sink in sinks))
        for turn in range(6):
            batches = [batch(writer, turn) for writer in "xyz"]
            given.extend(part for one in batches for part in one)
            await asyncio.gather(*(sink.merge(one) for sink, one in zip(sinks, batches, strict=True)))
        await asyncio.gather(*(sink.__aexit__(None, None, None) for sink in sinks))

    asyncio.run(merge_all())
    assert shared_server().log().count("deadlock detected") == deadlocks
    by_key = {key: [part for part in given if part.join_key == key] for key in keys}
    wholes = [reduce(merge, parts) for parts in by_key.values() if parts]
    assert held(url, *keys) == {whole.join_key: project(whole, POLICY)[0] for whole in wholes}
