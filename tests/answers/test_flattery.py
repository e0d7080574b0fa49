"""On made-up loans, where neither model nor delays ever change, the plain figure flatters and ours do not."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import pytest
from made_up_records import record_of

from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.report import report
from joinback_worker.cli.made_up_loans import Loan, made_up_loans
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AGE_D = 14
WORLDS = 3


class World:
    """The loans of one seed, what they come to, and what is reported of them."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.loans = list(made_up_loans(12_000, NOW, seed))
        url = f"sqlite:///{folder}/loans_{seed}.db"

        async def fill() -> Report:
            async with open_sink(url, Policy()) as sink:
                await sink.merge([record_of(loan, NOW) for loan in self.loans])
            wanted = Wanted(application="loans", now=NOW, age_d=AGE_D, choice=Choice(positive=False))
            return await report(Settings(sink_url=url), wanted)

        self.report = asyncio.run(fill())
        truth: dict[tuple[str, str | None], list[Loan]] = defaultdict(list)
        for loan in self.loans:
            truth[loan.served_at.date().isoformat(), loan.version].append(loan)
        self.truth = {key: fmean(loan.is_right for loan in loans) for key, loans in truth.items()}

    def young(self) -> Iterator[tuple[float, float, float, float, float]]:
        """Days of 3 to 14: what is true, the plain figure, the bounds, and the estimate."""
        days = sorted({day for day, _ in self.truth})[-AGE_D:-3]
        for day in self.report.days:
            if day.day in days and None not in (day.so_far, day.at_least, day.at_most, day.estimate):
                yield self.truth[day.day, day.version], day.so_far, day.at_least, day.at_most, day.estimate  # type: ignore[misc]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    folder = tmp_path_factory.mktemp("worlds")
    return [World(seed, folder) for seed in range(WORLDS)]


def test_the_plain_figure_flatters(worlds: list[World]) -> None:
    """Of days 3 to 14 old, the accuracy of the labels that came is points above the truth."""
    young = [one for world in worlds for one in world.young()]
    assert fmean(plain - truth for truth, plain, *_ in young) > 0.03


def test_the_bounds_hold(worlds: list[World]) -> None:
    """On every day of every world, the truth lies between them."""
    found = 0
    for world in worlds:
        for day in world.report.days:
            assert day.at_least is not None
            assert day.at_most is not None
            assert day.at_least <= world.truth[day.day, day.version] <= day.at_most
            found += 1
    assert found > 100 * WORLDS


def test_at_one_age_days_compare(worlds: list[World]) -> None:
    """The figure at one age has no trend from the oldest ripe days to the youngest, where so far has one."""
    for world in worlds:
        ripe = [day for day in world.report.days if day.ripe]
        third = len(ripe) // 3
        assert all(day.at_age is None for day in world.report.days if not day.ripe)
        old, new = ([day.at_age for day in part if day.at_age is not None] for part in (ripe[:third], ripe[-third:]))
        assert abs(fmean(new) - fmean(old)) < 0.02
        before = fmean(day.so_far for day in ripe[:third] if day.so_far is not None)
        after = fmean(day.so_far for day in world.report.days[-third:] if day.so_far is not None)
        assert after - before > 0.02


def test_the_estimate_takes_most_of_the_flattery_away(worlds: list[World]) -> None:
    """Weighted by its own outcome's delay, the figure of young days is much nearer to the truth on average."""
    young = [one for world in worlds for one in world.young()]
    plain = fmean(plain - truth for truth, plain, *_ in young)
    estimate = fmean(estimate - truth for truth, *_, estimate in young)
    assert abs(estimate) < plain / 3


def test_the_curve_is_the_truth(worlds: list[World]) -> None:
    """After 1, 7, 14 and 30 days the curve has the share of labels that the loans' own delays give."""
    for world in worlds:
        points = {round(point.age_s): point for point in world.report.curves[0].points}
        for days in (1, 7, 14, 30):
            came = [
                loan.label_at is not None and (loan.label_at - loan.served_at).total_seconds() <= days * 86_400
                for loan in world.loans
            ]
            assert points[days * 86_400].share == pytest.approx(fmean(came), abs=0.012)
