"""An import holds no more of many lines than of few."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.labels.importing import Importing
from joinback_worker.labels.lines import Line
from joinback_worker.labels.lookup import looking_up
from joinback_worker.labels.near import KEYS_TRIED, Stray, Strays
from joinback_worker.labels.plan import Plan, Roles
from joinback_worker.labels.report import ReportFile
from joinback_worker.labels.ruling import Ruling
from joinback_worker.labels.settled import Given
from joinback_worker.law.rules import Rules
from joinback_worker.notes.layouts import Layout


class Cells(list[str]):
    """The cells of a line, of which it is known how many lines are held at once."""

    held = 0
    most = 0

    def __init__(self, cells: list[str]) -> None:
        super().__init__(cells)
        Cells.held += 1
        Cells.most = max(Cells.most, Cells.held)

    def __del__(self) -> None:
        Cells.held -= 1


class Endless:
    """A source of as many lines as one likes, none of which is held here."""

    name = "endless"
    is_typed = False

    def __init__(self, batches: int) -> None:
        self._batches = batches

    def columns(self) -> list[str]:
        return ["id", "day", "repaid"]

    def doubts(self) -> list[str]:
        return []

    def close(self) -> None:
        pass

    def batches(self, wanted: object) -> Iterator[list[Line]]:
        for batch in range(self._batches):
            yield [line(batch * 500 + n) for n in range(500)]


def line(row: int) -> Line:
    return Line(row, Cells([f"x{row}", "soon" if row % 7 == 0 else "2026-02-01", "1"]))


def test_a_sample_is_even_and_bounded() -> None:
    """Of many keys that did not match few are kept, from the beginning, the middle and the end alike."""
    strays = Strays()
    for n in range(10_000):
        if (place := strays.place()) is not None:
            strays.put(place, Stray(str(n), {}))
    assert len(strays.sample) == KEYS_TRIED
    assert {int(stray.key) // 1_000 for stray in strays.sample} == set(range(10))


class Silent:
    def has_done(self, rows: int) -> None: ...

    def waits(self, why: str) -> None: ...


def test_what_is_held_does_not_grow(settings: Settings) -> None:
    """Of any number of lines, refused and unmatched ones too, no more than two batches are held at once."""
    most = []
    for batches in (20, 60):
        Cells.held = Cells.most = 0
        report = asyncio.run(_look_at(settings, batches))
        assert report.rows == batches * 500
        assert report.refused + report.unmatched == report.rows
        assert len(report.listed) == 20
        most.append(Cells.most)
    assert most[1] <= most[0] <= 2 * 2_000 + 500


async def _look_at(settings: Settings, batches: int) -> Any:
    source = Endless(batches)
    roles = Roles(key="id", at="day", fields={"repaid": "repaid"})
    plan = Plan("loans", roles, source, Given())
    for _ in plan.survey(source.batches(plan.wanted), datetime.now(UTC)):
        pass
    redis = connect(settings)
    try:
        async with looking_up(redis, settings, "loans", Layout()) as lookup:
            with ReportFile(None) as file:
                importing = Importing("loans", 1.0, plan, lookup, file, ruling=Ruling(Rules()), orphans=False)
                return await importing.run(source, None, Silent())
    finally:
        await redis.aclose()
