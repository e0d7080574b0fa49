"""docs/explanation/answers.md: its tables are what the report says of made-up loans; its file and options are right."""

import asyncio
import os
import re
import tomllib
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import pytest
from made_up_records import record_of

from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.report import report
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.cli.report import report as command
from joinback_worker.cli.report_tables import TABLES
from joinback_worker.cli.report_text import lines
from joinback_worker.config.rules_file import look
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

PATH = Path(__file__).parents[2] / "docs" / "explanation" / "answers.md"
DOC = PATH.read_text()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
COUNT = 24_000
AGES_D = (1, 7, 14, 30, 45)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Report:
    url = f"sqlite:///{tmp_path_factory.mktemp('doc')}/loans.db"

    async def fill() -> Report:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, NOW) for loan in made_up_loans(COUNT, NOW)])
        wanted = Wanted(application="loans", now=NOW, age_d=14, choice=Choice(positive=False))
        return await report(Settings(sink_url=url), wanted)

    return asyncio.run(fill())


def holds(name: str, text: str) -> None:
    """The document has this between its marks; with UPDATE_DOCS=1 it is written there."""
    found = re.search(rf"(<!-- {name}.*?-->\n)(.*?)(<!-- to here -->)", DOC, re.DOTALL)
    assert found is not None
    if os.environ.get("UPDATE_DOCS"):
        now = PATH.read_text()
        PATH.write_text(now.replace(found[0], f"{found[1]}{text}\n{found[3]}"))
    else:
        assert found[2] == text + "\n"


def test_the_flattery(told: Report) -> None:
    """Four days of both versions together: the plain figure, and ours, beside the truth."""
    truth = defaultdict(list)
    for loan in made_up_loans(COUNT, NOW):
        truth[loan.served_at.date().isoformat()].append(loan.is_right)
    rows = [
        "| day (coverage) | labelled rows only | at 14 days | estimate (bounds) | truth |",
        "| --- |" + " --- |" * 4,
    ]
    for day in ("2026-10-14", "2026-11-03", "2026-11-13", "2026-11-18", "2026-11-23"):
        both = [one for one in told.days if one.day == day]
        labels = sum(one.labels for one in both)
        n = sum(one.predictions for one in both)

        def over(name: str, by: str, both: list = both) -> float:  # type: ignore[type-arg]
            whole = sum(getattr(one, by) for one in both)
            return sum(getattr(one, name) * getattr(one, by) for one in both) / whole

        at_age = f"{over('at_age', 'labels'):.3f}" if all(one.ripe for one in both) else "not yet"
        bounds = f"{over('at_least', 'predictions'):.3f}-{over('at_most', 'predictions'):.3f}"
        rows.append(
            f"| {day} ({labels / n:.0%}) | {over('so_far', 'labels'):.3f} | {at_age} |"
            f" {over('estimate', 'predictions'):.3f} ({bounds}) | {fmean(truth[day]):.3f} |"
        )
    holds("flattery", "\n".join(rows))


def test_the_curve(told: Report) -> None:
    """The curve beside the truth, and the share of all rows that people take for it."""
    loans = list(made_up_loans(COUNT, NOW))
    points = {round(point.age_s / 86_400, 6): point for point in told.curves[0].points}
    rows = ["| age, days | curve (band) | at risk | share of all rows | truth |", "| --- |" + " --- |" * 4]
    for age in AGES_D:
        point = points[float(age)]
        took = [(loan.label_at - loan.served_at).total_seconds() / 86_400 if loan.label_at else 1e9 for loan in loans]
        known = [
            d <= age and loan.label_at is not None and loan.label_at <= NOW for d, loan in zip(took, loans, strict=True)
        ]
        rows.append(
            f"| {age} | {point.share:.3f} ({point.low:.3f}-{point.high:.3f}) | {point.at_risk:,} |"
            f" {fmean(known):.3f} | {fmean(d <= age for d in took):.3f} |"
        )
    holds("curve", "\n".join(rows))


def test_the_terminal(told: Report) -> None:
    """The head and the curve, and the newest days, as the terminal shows them."""
    shown = list(lines(told))
    first = next(n for n, line in enumerate(shown) if line.startswith("ACCURACY"))
    last = shown.index("", first)
    days = [*shown[first : first + 2], "  …", *shown[last - 14 : last]]
    holds("terminal", "\n".join(["```text", *shown[:first], *days, "```"]))


def test_the_triangle(told: Report) -> None:
    """As the terminal shows it."""
    shown = list(lines(told))
    first = next(n for n, line in enumerate(shown) if line.startswith("LABEL TRIANGLE"))
    last = shown.index("", first)
    holds("triangle", "\n".join(["```text", *shown[first + 1 : last], "```"]))


def test_the_file_is_right(tmp_path: Path) -> None:
    """What the document declares has no mistake."""
    (text,) = re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL)
    path = tmp_path / "joinback.toml"
    path.write_text(text)
    config, problems = look(Settings(config=str(path)))
    assert problems == ()
    field = config.rules_of("loans").feedback["repaid"]
    assert (field.output, field.threshold, field.positive) == ("default", 0.5, False)
    assert tomllib.loads(text)


def test_the_options_are_there() -> None:
    """Each option and table that the document names is one of the command's."""
    known = {name for option in command.params for name in option.opts}
    ours = re.sub(r"`python bench/[^`]*`", "", DOC.replace("<!--", ""))
    assert set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", ours)) <= known
    assert set(TABLES) == {"days", "curve", "triangle", "versions", "calibration", "quantiles"}
