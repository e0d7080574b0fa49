"""Services and workers of two releases share one Redis, as they do while one is rolled out: no row differs."""

import asyncio
import io
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, books_of, free_port
from documents import ROOT
from msgspec import structs

from joinback import wire
from joinback.settings import Settings

BASELINE = "1b6c8879c33e120ffd67af0598005635d8df30ec"
"""Yesterday's release. While there is none, the commit at which main stood from 25 to 28 November 2026: of all that
clients may run, it differs most from today. Its client knows wire version 1 alone, its pending entries name no event,
and its worker makes the first table. When there is a release, its tag stands here."""

SERVICE = Path(__file__).parent / "service.py"
OF_ONE = {"feedback_is_default", "default_fields", "field_times", "matures_at"}
"""Columns of yesterday's table or of today's alone."""

Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By release, a tree of its source. Where history is not at hand this is skipped, unless CI says that it is."""
    archive = ["git", "-C", str(ROOT), "archive", "--format=zip", BASELINE, "client", "worker"]
    done = subprocess.run(archive, capture_output=True)
    if done.returncode:
        why = f"git cannot show {BASELINE[:7]}, yesterday's release; in a shallow clone run: git fetch --unshallow"
        assert os.environ.get("JOINBACK_HISTORY") != "required", f"{why}\n{done.stderr.decode()}"
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("yesterday")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as packed:
        packed.extractall(folder)
    return {"yesterday": folder, "today": ROOT}


class Day:
    """One Redis, empty at first, and one table that is new: who logs, who drains, and what comes out."""

    def __init__(self, trees: dict[str, Path], server: redis.Redis, settings: Settings, folder: Path) -> None:
        self._trees = trees
        self._server = server
        self._table = folder / "joinback.db"
        self._settings = structs.replace(settings, sink_url=f"sqlite:///{self._table}", spool_dir=str(folder / "spool"))
        server.flushall()
        # A way to give an application shards that yesterday knew too.
        server.hset(wire.APPLICATIONS_KEY, "clicks", wire.encode(wire.Application(shards=4)))
        server.expire(wire.APPLICATIONS_KEY, wire.STATS_TTL_S)

    def run(self, release: str, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run Python on the source of one release."""
        tree = self._trees[release]
        # No more than is needed: yesterday's worker refuses variables that it does not know.
        names = ("redis_url", "sink_url", "spool_dir")
        ours = {f"JOINBACK_{name.upper()}": getattr(self._settings, name) for name in names} | variables
        ours["PYTHONPATH"] = os.pathsep.join([str(tree / "client"), str(tree / "worker")])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
        return subprocess.run(
            [sys.executable, *command], env=inherited | ours, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def log(self, release: str, part: str) -> None:
        done = self.run(release, str(SERVICE), part, "60")
        assert done.returncode == 0, done
        assert done.stdout.startswith(str(self._trees[release] / "client")), done

    def spool(self, release: str, part: str) -> None:
        """Log while Redis is away, for a quarter of a second: all of it is left on disk."""
        done = self.run(release, str(SERVICE), part, "0.25", JOINBACK_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
        assert done.returncode == 1, done
        assert "stay in the spool" in done.stderr, done

    def spooled(self) -> list[Path]:
        """What is left on disk."""
        return list(Path(self._settings.spool_dir or "").glob("*.spool"))

    def drain(self, release: str) -> None:
        done = self.run(release, "-m", "joinback_worker", "drain")
        assert done.returncode == 0, done

    def rows(self) -> Rows:
        """All rows, without what depends on when it was logged and drained."""
        with closing(sqlite3.connect(self._table)) as database:
            database.row_factory = sqlite3.Row
            cells = [dict(row) for row in database.execute("SELECT * FROM records")]
        return {
            (row["application"], row["join_key"]): {
                name: re.sub(r'"logged_at":"[^"]*"', "", cell) if isinstance(cell, str) else cell
                for name, cell in row.items()
                if name not in ("logged_at", "updated_at", "row_version")
            }
            for row in cells
        }

    def books(self) -> dict[str, int]:
        """The terms of the books, which balance."""
        summary = asyncio.run(books_of(self._settings)).summary()
        assert summary["difference"] == 0
        return summary

    def waiting(self) -> list[bytes]:
        """The join key of each pending event of the loans."""
        return [fields[b"key"] for _, fields in self._server.xrange(wire.pending_key("loans"))]

    def end_leases(self) -> None:
        """As if an hour had passed since the pending entries were claimed."""
        pending = wire.pending_key("loans")
        ids = [entry for entry, _ in self._server.xrange(pending)]
        self._server.xclaim(pending, wire.GROUP, "dead", 0, ids, idle=3_600_000, justid=True)


Days = Callable[[], Day]


@pytest.fixture
def days(trees: dict[str, Path], server: redis.Redis, settings: Settings, tmp_path_factory: Any) -> Days:
    """Begin a day; the one before is over."""
    return lambda: Day(trees, server, settings, tmp_path_factory.mktemp("day"))


def whole(day: Day, services: tuple[str, str], workers: tuple[str, str]) -> tuple[Rows, dict[str, int]]:
    """Log and drain a morning, then an evening; return the rows and the books."""
    for part, service, worker in zip(("morning", "evening"), services, workers, strict=True):
        day.log(service, part)
        day.drain(worker)
    return day.rows(), day.books()


def shared(rows: Rows) -> Rows:
    """The rows without the columns that only one of the two releases has."""
    return {key: {name: cell for name, cell in row.items() if name not in OF_ONE} for key, row in rows.items()}


@pytest.mark.parametrize(("worker", "other"), [("today", "yesterday"), ("yesterday", "today")])
def test_services_of_another_release(days: Days, worker: str, other: str) -> None:
    """Whichever services are of the worker's release and whichever of the other one, rows and books are those of one
    release alone: sampled and sharded applications, late, early, corrected and retracted labels among them.
    """
    alone = whole(days(), (worker, worker), (worker, worker))
    assert {row["status"] for row in alone[0].values()} == {"predicted", "joined", "orphan"}
    assert len([application for application, _ in alone[0] if application == "ads"]) == 7
    for services in [(other, other), (other, worker), (worker, other)]:
        assert whole(days(), services, (worker, worker)) == alone, services


def test_workers_first(days: Days) -> None:
    """A worker that is upgraded between two drains goes on with the table and the Redis of yesterday's, and with what
    yesterday's services log: the rows are those that either release makes alone.
    """
    services = ("yesterday", "yesterday")
    before, _ = whole(days(), services, ("yesterday", "yesterday"))
    alone, books = whole(days(), services, ("today", "today"))
    upgraded, books_then = whole(days(), services, ("yesterday", "today"))
    assert books_then == books
    assert shared(upgraded) == shared(alone) == shared(before)
    # A new column of an old row is filled when the row changes, or by `joinback sink refold`.
    assert upgraded["loans", "late"] == alone["loans", "late"]


def test_a_worker_that_went_back(days: Days) -> None:
    """Yesterday's worker refuses a table that today's has migrated, says why, and acknowledges nothing: today's finds
    all that waits, and the rows are those of a day without it.
    """
    alone = whole(days(), ("today", "today"), ("today", "today"))
    day = days()
    day.log("today", "morning")
    day.drain("today")
    day.log("today", "evening")
    books = day.books()
    refusal = day.run("yesterday", "-m", "joinback_worker", "drain")
    assert refusal.returncode == 2
    assert "upgrade the worker" in refusal.stderr
    assert day.books() == books
    assert books["pending"] > 0
    day.drain("today")
    assert (day.rows(), day.books()) == alone


def test_services_first(days: Days) -> None:
    """Events that say what yesterday's worker cannot read wait for today's, counted as pending; it joins all others,
    and what clients tell of their drops does it no harm.
    """
    outcomes = []
    for worker in ("today", "yesterday"):
        day = days()
        day.log("today", "morning")
        day.log("today", "news")
        day.drain(worker)
        outcomes.append((day.rows(), day.books(), day.waiting()))
    (alone, books, nothing), (rows, books_then, waiting) = outcomes
    assert nothing == []
    news = {("loans", "sole"), ("loans", "corrected")}
    assert {("loans", key.decode()) for key in waiting} == news
    assert books_then == books | {"in_rows": books["in_rows"] - len(waiting), "pending": len(waiting)}
    others = alone.keys() - news
    assert shared({key: rows[key] for key in others}) == shared({key: alone[key] for key in others})
    day.end_leases()
    day.drain("today")
    assert shared(day.rows()) == shared(alone)
    assert day.books() == books


def test_a_spool_of_another_release(days: Days) -> None:
    """What a service left on disk while Redis was away is sent by the next ones, of whichever release either is."""
    outcomes = []
    for first, second in [("today", "today"), ("yesterday", "today"), ("today", "yesterday")]:
        day = days()
        day.spool(first, "morning")
        # Yesterday's leaves a part of it to the next process, and that to the next.
        for _ in range(5):
            day.log(second, "evening")
            if not day.spooled():
                break
        assert not day.spooled()
        day.drain("today")
        day.books()
        outcomes.append(day.rows())
    assert outcomes[0]["loans", "late"]["status"] == "joined"
    assert outcomes[1] == outcomes[2] == outcomes[0]
