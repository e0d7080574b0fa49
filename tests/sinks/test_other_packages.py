"""A sink that another package brings: found by its entry point, and a sink like any other."""

import asyncio
import importlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Cli, Stack
from events import feedback, prediction, record

from joinback_worker.law.rules import Policy

PACKAGE = Path(__file__).parent / "other_package"


@pytest.fixture
def beside(cli: Cli) -> Callable[..., object]:
    """The command, where that package is installed beside ours."""
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    return lambda *words, **variables: cli(*words, PYTHONPATH=path, **variables)


def test_a_whole_way(stack: Stack, beside: Cli, tmp_path: Path) -> None:
    """A drain writes into the sink of another package, late feedback joins, and its rows can be copied to ours."""
    ledger = f"ledger://{tmp_path}/events"
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush()
    drained = beside("drain", JOINBACK_SINK_URL=ledger)
    assert drained.returncode == 0, drained.stderr
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="a")
    assert stack.client.flush()
    assert beside("drain", JOINBACK_SINK_URL=ledger).returncode == 0
    assert stack.books().difference == 0
    copied = beside("sink", "copy", ledger, f"sqlite:///{tmp_path}/copy.db")
    assert copied.returncode == 0, copied.stderr
    with closing(sqlite3.connect(tmp_path / "copy.db")) as database:
        rows = database.execute("select join_key, status, feedback from records").fetchall()
    assert rows == [("a", "joined", '{"repaid":true}')]
    assert beside("sink", "schema", ledger).stdout == "-- a ledger makes itself\n"


def test_one_that_fills_in_only_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of events that looks keys up by `_stored` alone finds the prediction of late feedback."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    ledger_sink = importlib.import_module("ledger_sink")
    monkeypatch.setattr(ledger_sink.LedgerSink, "looks_up", True)

    async def joined() -> int:
        async with ledger_sink.open_url(f"ledger://{tmp_path}/events", Policy()) as sink:
            await sink.merge([record({"prediction:p": prediction()})])
            merged = await sink.merge([record({"feedback:f": feedback(repaid=True)})])
            return int(merged.joined)

    assert asyncio.run(joined()) == 1


def test_one_that_cannot_be_loaded(beside: Cli) -> None:
    """A package whose module fails costs one line, which names the package."""
    done = beside("drain", JOINBACK_SINK_URL="broken:///x")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "the sink broken: of the package ledger-sink cannot be loaded (ModuleNotFoundError)" in done.stderr


def test_a_typo_names_it_too(beside: Cli) -> None:
    """Who mistypes a scheme is told also of the sinks that packages bring."""
    done = beside("drain", JOINBACK_SINK_URL="legder:///x")
    assert done.returncode == 2
    assert "stdout, ledger, broken" in done.stderr or "stdout, broken, ledger" in done.stderr


def test_without_the_package(cli: Cli) -> None:
    """Where the package is not installed its scheme is one that nobody serves."""
    done = cli("drain", JOINBACK_SINK_URL="ledger:///x")
    assert (done.returncode, "starts with 'ledger'" in done.stderr) == (2, True)
