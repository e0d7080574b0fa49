"""`joinback.read`: what it takes, what it returns, and what it says when something is missing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from events import NOON, at, feedback, prediction, record
from flat_rows import mixed_bag, put

import joinback
from joinback.errors import ConfigurationError, JoinbackError


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, mixed_bag())
    return url


def keys(found: Any) -> list[str]:
    return list(found["join_key"].to_pylist())


def test_what_it_returns(url: str) -> None:
    """An Arrow table, or a frame of pandas or polars, with the same rows in the order of the keys."""
    table = joinback.read(url, "loans")
    assert isinstance(table, pa.Table)
    assert keys(table) == [*(f"k{n}" for n in range(10)), "orphan"]
    assert (table.schema.field("count").type, table.schema.field("predicted_at").type) == (
        pa.int64(), pa.timestamp("us", tz="UTC"),
    )  # fmt: skip
    frame = joinback.read(url, "loans", as_="pandas")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["join_key"]) == keys(table)
    polars = joinback.read(url, "loans", as_="polars")
    assert isinstance(polars, pl.DataFrame)
    assert polars["count"].to_list() == table["count"].to_pylist()


def test_what_is_wanted(url: str) -> None:
    """`since` is within and `until` is not; columns come in their order; the types are those of all rows."""
    assert keys(joinback.read(url, "loans", since=at(3), until=at(5))) == ["k3", "k4"]
    assert keys(joinback.read(url, "loans", since="2026-11-23T12:00:08Z")) == ["k8", "k9"]
    assert keys(joinback.read(url, "loans", until=NOON.replace(tzinfo=None))) == []
    assert keys(joinback.read(url, "loans", status=("orphan", "joined"))) == ["k0", "k3", "k6", "k9", "orphan"]
    some = joinback.read(url, "loans", columns=["repaid", "join_key", "amount"], status="predicted", until=at(2))
    assert some.column_names == ["repaid", "join_key", "amount"]
    assert some.to_pylist() == [{"repaid": None, "join_key": "k1", "amount": 1.0}]
    assert some.schema.field("amount").type == pa.float64()
    assert joinback.read(url, "nobody").num_rows == 0


def test_within_a_loop(url: str) -> None:
    """A notebook has an event loop that runs."""

    async def cell() -> Any:
        return joinback.read(url, "loans")

    assert asyncio.run(cell()).num_rows == 11


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"as_": "numpy"}, "as_ is one of arrow, pandas, polars"),
        ({"status": "labelled"}, "status is of predicted, joined"),
        ({"columns": ["amuont"]}, "has no column 'amuont'; it has join_key"),
        ({"columns": "amount"}, "columns is a list"),
        ({"since": "yesterday"}, "since 'yesterday' is no moment"),
    ],
)
def test_what_is_wrong(url: str, options: dict[str, Any], says: str) -> None:
    """A wrong argument is one line that says what may stand there."""
    with pytest.raises(ConfigurationError, match=says):
        joinback.read(url, "loans", **options)


def test_a_sink_that_is_not_there(tmp_path: Path) -> None:
    """It is told, and not made."""
    with pytest.raises(JoinbackError, match="does not exist yet"):
        joinback.read(f"sqlite:///{tmp_path}/none.db", "loans")
    assert list(tmp_path.iterdir()) == []


MISSING = """
import sys
sys.modules["pyarrow"] = None
import joinback
try:
    joinback.read("sqlite:///x.db", "loans")
except joinback.ConfigurationError as error:
    print(error)
"""


def test_without_the_extra() -> None:
    """Where a package is missing one line says which, and how to install it; importing joinback does not need it."""
    done = subprocess.run([sys.executable, "-c", MISSING], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "joinback.read needs pyarrow; in its clone: pip install '.[worker,parquet]'"


def test_rows_as_they_stand(tmp_path: Path) -> None:
    """A row store is read as it is, without the rules of whoever reads: they are in the rows already."""
    from ruled import policy

    url = f"sqlite:///{tmp_path}/sink.db"
    rules = policy(at(1_000), feedback={"n": {"reducer": "sum"}, "late": {"default": 7, "maturity_s": 5}})
    fields = {"prediction:p": prediction(), "feedback:a": feedback(1, n=2), "feedback:b": feedback(2, n=3)}
    put(url, [record(fields)], rules)
    (row,) = joinback.read(url, "loans").to_pylist()
    assert (row["n"], row["late"], row["late_is_default"], row["late_at"]) == (5, 7, True, None)
