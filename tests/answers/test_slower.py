"""The alarm that labels come later: it is raised within days of the change, and not by chance."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from made_up_records import record_of

from joinback.settings import Settings
from joinback_worker.answers.accuracy import Cell
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.report import report
from joinback_worker.answers.slower import Slower, slower_of
from joinback_worker.cli.made_up_loans import Loan, made_up_loans
from joinback_worker.dashboard.mailed import page
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY_S = 86_400
AGES_S = [DAY_S // 2, DAY_S, 3 * DAY_S, 7 * DAY_S, 14 * DAY_S, 30 * DAY_S]


def slowed(loan: Loan, since: datetime) -> Loan:
    """Return the loan as it is if all labels that are due since then come two days later."""
    if loan.label_at is None or loan.label_at < since:
        return loan
    return loan._replace(label_at=loan.label_at + timedelta(days=2))


def cells(loans: Iterable[Loan], now: datetime) -> list[Cell]:
    counts: Counter[tuple[int, int | None]] = Counter()
    for loan in loans:
        came = loan.label_at is not None and loan.label_at <= now
        age_s = (loan.label_at - loan.served_at).total_seconds() if came and loan.label_at else None
        place = None if age_s is None else bisect_left(AGES_S, age_s)
        counts[int(loan.served_at.timestamp() // DAY_S), place] += 1
    return [cell(day, place, rows) for (day, place), rows in counts.items()]


def cell(day: int, place: int | None, rows: int, w: float = 1.0) -> Cell:
    return Cell(
        day=day, version=None, outcome=None, is_known=place is not None, is_judgeable=True, place=place,
        rows=rows, w=rows * w, w2=rows * w * w, age_d=0.0, value=0.0, extra=0.0, value2=0.0, below=[],
    )  # fmt: skip


def alarm(loans: Iterable[Loan], now: datetime) -> Slower | None:
    seen = [loan for loan in loans if loan.served_at <= now]
    return slower_of(cells(seen, now), AGES_S, range(len(AGES_S)), round(now.timestamp() * 1e6))


def test_it_is_raised_soon() -> None:
    """In four worlds whose labels come two days later from a day on, it is raised within five days."""
    for seed in range(4):
        since = NOW - timedelta(days=10)
        loans = [slowed(loan, since) for loan in made_up_loans(12_000, NOW, seed)]
        raised = [day for day in range(11) if alarm(loans, since + timedelta(days=day))]
        assert raised
        assert 1 <= raised[0] <= 5, raised


def test_it_is_not_raised_by_chance() -> None:
    """In four worlds whose delays never change it is quiet on each of the last ten days."""
    for seed in range(4):
        loans = list(made_up_loans(12_000, NOW, seed))
        assert not [day for day in range(10) if alarm(loans, NOW - timedelta(days=day))]


def weekly(labelled: Sequence[int], rows: int = 1_000, w: float = 1.0) -> Slower | None:
    """Return the alarm of weeks of so many predictions and labels by the first age, the newest last."""
    last = round(NOW.timestamp()) // DAY_S - 1
    found = []
    for back, count in enumerate(reversed(labelled)):
        day = last - 7 * back
        found += [cell(day, 0, count, w), cell(day - 6, None, rows - count, w)]
    return slower_of(found, AGES_S[:1], [0], round(NOW.timestamp() * 1e6))


@pytest.mark.parametrize(
    ("labelled", "w", "is_raised"),
    [
        ((160, 165, 158, 162, 90), 1.0, True),
        # A week before was as low.
        ((160, 165, 89, 162, 90), 1.0, False),
        # Not by a tenth.
        ((960, 965, 958, 962, 900), 1.0, False),
        # Surely lower, and by more than a tenth.
        ((960, 965, 958, 962, 800), 1.0, True),
        # One week to compare with.
        ((160, 90), 1.0, False),
        ((160, 165, 90), 1.0, True),
        # More labels than before.
        ((160, 165, 158, 162, 300), 1.0, False),
        # A weight that all rows have is no further row.
        ((160, 165, 158, 162, 130), 1.0, False),
        ((160, 165, 158, 162, 130), 100.0, False),
    ],
)
def test_a_fall_is_large_sure_and_new(labelled: Sequence[int], w: float, is_raised: bool) -> None:
    """The share falls by a tenth at least, by more than chance, and below each of the weeks before."""
    assert (weekly(labelled, w=w) is not None) == is_raised


def test_too_few_to_tell() -> None:
    """Fewer than thirty predictions per week, or one week before, raise none."""
    assert alarm([slowed(loan, NOW - timedelta(days=10)) for loan in made_up_loans(100, NOW, days=40)], NOW) is None
    for days, is_raised in ((20, False), (24, True)):
        young = [slowed(loan, NOW - timedelta(days=10)) for loan in made_up_loans(12_000, NOW, days=days)]
        assert (alarm(young, NOW) is not None) == is_raised


@pytest.fixture
def told(tmp_path: Path) -> tuple[str, Report]:
    """Loans that end now; of the last ten days, labels come later."""
    now = datetime.now(UTC)
    url = f"sqlite:///{tmp_path}/sink.db"

    async def fill() -> Report:
        async with open_sink(url, Policy()) as sink:
            loans = (slowed(loan, now - timedelta(days=10)) for loan in made_up_loans(6_000, now))
            await sink.merge([record_of(loan, now) for loan in loans])
        return await report(Settings(sink_url=url), Wanted(application="loans", now=now, age_d=14))

    return url, asyncio.run(fill())


def test_the_alarm_is_said(told: tuple[str, Report], cli: Callable[..., "CompletedProcess[str]"]) -> None:
    """In the terminal, in the page, and as numbers: the smallest age, its share, and that of the weeks before."""
    url, made = told
    found = made.slower
    assert found is not None
    assert (found.age_s, found.weeks) == (DAY_S / 2, 4)
    assert found.share < 0.8 * found.before
    assert made.triangle is not None
    usual = [week.cells[0].share for week in made.triangle.weeks[-6:-3] if week.cells[0] and week.cells[0].share]
    assert found.before == pytest.approx(sum(usual) / len(usual), abs=0.02)
    printed = cli("report", "loans", "--age-days", "14", JOINBACK_SINK_URL=url).stdout
    start = "Labels come later or fewer than before: of the predictions of"
    assert start in printed
    assert start in page(made)
