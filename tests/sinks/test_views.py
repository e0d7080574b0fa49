"""The views over append stores fold plain keys by a way of their own: it gives what the whole law gives."""

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import model
import pytest
from engines import ENGINES, Engine, Lake, named
from events import RULES, feedback, prediction, record, records, retraction
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import structs
from ruled import file, policy
from test_conformance import batches_of, by_rules, expected, in_records, on

from joinback.settings import Settings
from joinback_worker.law.record import Record, merge
from joinback_worker.sinks import lake_view

fresh = itertools.count()


@pytest.fixture(params=named("parquet", "jsonl", "delta", "clickhouse"))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def plain(whole: Record) -> Record:
    """Return one prediction and one feedback event of a record at most."""
    return structs.replace(
        whole,
        predictions=dict(list(whole.predictions.items())[:1]),
        feedback=dict(list(whole.feedback.items())[:1]),
        retractions={},
    )


plain_keys = records.map(plain).filter(lambda r: r.has_events)
later = st.none() | records.filter(lambda r: r.has_events)
"""What may come to a plain key after it was read as one: nothing, or what makes it another."""


def test_plain_and_other_keys_side_by_side(engine: Engine, url: str, tmp_path: Path) -> None:
    """Of keys most of which are plain, each event maybe repeated, `records` answers the law's row; before a key's other
    events came, and after.
    """

    @hypothesis_settings(max_examples=engine.examples)
    @given(st.lists(st.tuples(plain_keys, later), min_size=1, max_size=8), st.randoms(), st.sampled_from(RULES))
    def check(histories: list[tuple[Record, Record | None]], chance: random.Random, rules: dict[str, Any]) -> None:
        first, second = {}, {}
        for before, after in histories:
            before.join_key = key = f"example_{next(fresh)}"
            first[key] = before
            if after is not None:
                second[key] = structs.replace(after, join_key=key)
        now = datetime.now(UTC)
        law = policy(now, **rules)

        def compare(order: list[Record], wholes: dict[str, Record]) -> None:
            chance.shuffle(order)
            on(url, *batches_of(order), policy=law)
            found = in_records(engine, url, config=file(tmp_path, loans=rules))
            assert {key: found[key] for key in wholes} == expected(*wholes.values(), policy=law)
            for key, whole in wholes.items():
                assert model.parts_of(found[key]) == model.row(model.events_of(whole), rules=rules, now=now)

        compare([*first.values(), *chance.choices([*first.values()], k=3)], first)
        compare([*second.values()], {key: merge(r, second[key]) if key in second else r for key, r in first.items()})

    check()


def test_keys_that_only_look_plain(engine: Engine, url: str, tmp_path: Path) -> None:
    """One content under two ids is two events; two contents under one id are one, and so is what is written often."""
    at_noon, told = prediction(), feedback(5, a=1, b=2)
    by_rules(
        *(engine, url, tmp_path, {"labels": ["b"], "feedback": {"a": {"reducer": "sum"}, "b": {}}}),
        {
            "twice told": {"prediction:p": at_noon, "feedback:f": told, "feedback:g": told},
            "twice served": {"prediction:p": at_noon, "prediction:q": at_noon},
            "no label": {"prediction:p": at_noon, "feedback:f": feedback(5, a=1)},
            "nothing told": {"prediction:p": at_noon, "feedback:f": feedback(5)},
            "only taken back": {"retraction:r": retraction(6)},
            "late": {"prediction:p": at_noon, "feedback:f": told.replace(b"2026", b"2027")},
            "skewed": {"prediction:p": at_noon, "feedback:f": told.replace(b'"at":"2026', b'"at":"2036')},
        },
    )
    one, other = ({"prediction:p": prediction(), "feedback:f": feedback(5, a=n)} for n in (1, 2))
    pieces = [record(one, "forged"), record(other, "forged"), *[record(one, "often")] * 4]
    on(url, *([piece] for piece in pieces))
    found = in_records(engine, url)
    wholes = merge(record(one, "forged"), record(other, "forged")), record(one, "often")
    assert {whole.join_key: found[whole.join_key] for whole in wholes} == expected(*wholes)


def scans_of(database: Any, query: str) -> list[dict[str, Any]]:
    """Return what DuckDB plans of each reading of the files."""
    ((_, plan),) = database.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    found: list[dict[str, Any]] = []
    nodes = json.loads(plan)
    while nodes:
        node = nodes.pop()
        nodes += node["children"]
        if node["name"].strip() == "READ_PARQUET":
            found.append(node["extra_info"])
    return found


def test_a_view_reads_what_the_query_needs(tmp_path: Path) -> None:
    """DuckDB reads the files twice: for all keys, and for those that are not plain. By key both look for that key; by
    status neither reads inputs.
    """
    import duckdb

    engine = ENGINES["parquet"]
    assert isinstance(engine, Lake)
    with engine.place(tmp_path) as url, duckdb.connect() as database:
        on(url, [record({"prediction:p": prediction(), "feedback:f": feedback(a=1)}, key) for key in "jkl"])
        database.execute(lake_view.view(engine.source(database, url), Settings()))
        by_key = scans_of(database, "SELECT * FROM records WHERE application = 'loans' AND join_key = 'k'")
        assert ["join_key = 'k'" in str(scan["Filters"]) for scan in by_key] == [True, True]
        by_status = scans_of(database, "SELECT status, count(*) FROM records GROUP BY status")
        assert ["inputs" in scan["Projections"] for scan in by_status] == [False, False]


KEYS = 200_000
MEMORY = "150MB"


@pytest.mark.heavy
def test_a_view_over_more_keys_than_memory_holds(tmp_path: Path) -> None:
    """Where memory is short, `records` by status is counted with the help of the disk: single values may go there."""
    import duckdb

    engine = ENGINES["parquet"]
    assert isinstance(engine, Lake)
    with engine.place(tmp_path) as url, duckdb.connect() as database:
        on(url, [record({"prediction:p": prediction(), "feedback:f": feedback(a=1)}, "seed")])
        source = engine.source(database, url)
        # Like the seed, so that it has all columns as the sink writes them.
        database.execute(
            f"COPY (SELECT * REPLACE ('{'k' * 40}' || n AS join_key) FROM {source}, range({KEYS}) AS numbers(n)"
            f" WHERE kind = 'prediction' OR n % 3 = 0) TO '{tmp_path}/many.parquet'"
        )
        database.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 2; SET temp_directory = '{tmp_path}/spilled'")
        database.execute(lake_view.view(f"read_parquet('{tmp_path}/many.parquet')", Settings()))
        found = database.execute("SELECT status, count(*) FROM records GROUP BY status").fetchall()
    joined = (KEYS + 2) // 3
    assert dict(found) == {"joined": joined, "predicted": KEYS - joined}
