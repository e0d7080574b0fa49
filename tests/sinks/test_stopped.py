"""A question whose answer nobody waits for any more is stopped, on each engine that can."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from made_up_records import record_of
from postgres_server import fresh_database

from joinback.settings import Settings
from joinback_worker.answers.stores import open_store
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/sink.db"


@contextmanager
def jsonl(folder: Path) -> Iterator[str]:
    yield f"jsonl:///{folder}/lake"


@contextmanager
def postgresql(_: Path) -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.mark.parametrize("engine", [sqlite, jsonl, postgresql])
def test_a_question_that_is_given_up_is_stopped(engine: Any, tmp_path: Path) -> None:
    """One that would run for ever ends soon after, its thread too; and the next one is answered."""

    async def run(url: str) -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, NOW) for loan in made_up_loans(5, NOW)])
        async with open_store(Settings(sink_url=url), "loans") as store:
            asked = asyncio.create_task(store.ask(ENDLESS))
            await asyncio.wait({asked}, timeout=0.3)
            assert not asked.done()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert await store.ask("select 1") == [(1,)]
        assert not [one for one in threading.enumerate() if one.name.startswith("joinback-sink")]

    with engine(tmp_path) as url:
        asyncio.run(run(url))
