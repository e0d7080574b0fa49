"""What is missing is told apart: labels, outputs, whole fields, and outcomes that nobody tells."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from answers.odd_records import NOW, put
from msgspec import Raw, structs

from joinback import wire
from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.report import report
from joinback_worker.cli.report_text import lines
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy

ROWS = 400
CHOICE = Choice(field="y", output="p")
RULES = """
[applications.bought.feedback.y]
type = "bool"
maturity_s = 864_000
default = false
"""


def record(application: str, n: int, outputs: Any, **fields: tuple[float, Any]) -> Record:
    """A prediction of the last forty days, and its fields, each as (delay in days, value)."""
    at = NOW - timedelta(days=40 * (n + 0.5) / ROWS)
    said = wire.Prediction(v=1, at=at, logged_at=at, inputs=Raw(b"{}"), outputs=Raw(msgspec.json.encode(outputs)))
    told = {}
    for name, (delay_d, value) in fields.items():
        came = at + timedelta(days=delay_d)
        if came <= NOW:
            label = wire.Feedback(v=1, at=came, logged_at=came, feedback={name: Raw(msgspec.json.encode(value))})
            told[f"{name}{n}"] = label
    return Record(application=application, join_key=f"k{n}", predictions={"p": said}, feedback=told)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('missing')}/sink.db"
    made = []
    for n in range(ROWS):
        share, right = (n % 10 + 0.5) / 10, n % 5 > 0
        y = (share > 0.5) == right
        slow_d = 1 + n * 7 % 30
        made += [
            record("all", n, {"p": share}, y=(10 if n >= 100 else 0.0, y)),
            record("two", n, {"p": share}, clicked=(0, n % 3 > 0), y=(slow_d, y)),
            record("half", n, {"p": share if n % 2 else None}, **({} if n % 40 == 0 else {"y": (0.04, y)})),
            record("null", n, {"p": share}, **({"y": (0.04, y if n % 4 else None)} if n % 10 else {})),
            record("bought", n, {"p": share}, **({"y": (2, True)} if y else {})),
            structs.replace(record("orphans", n, {"p": share}, y=(0, y)), predictions={}),
        ]

    put(url, made, Policy(now=NOW))
    return url


@pytest.fixture
def told(url: str, tmp_path: Path) -> Callable[..., Report]:
    def asked(
        application: str, rules: str = "", age_d: float | None = None, choice: Choice = CHOICE, **more: Any
    ) -> Report:
        # A file is read once per process.
        path = tmp_path / f"{len(rules)}.toml"
        path.write_text(rules)
        settings = Settings(sink_url=url, config=str(path), **more)
        return asyncio.run(report(settings, Wanted(application=application, now=NOW, age_d=age_d, choice=choice)))

    return asked


def test_a_field_may_wait_where_another_has_come(told: Callable[..., Report]) -> None:
    """A label on every row says nothing of a slower field, which has its curve, coverage and bounds all the same."""
    made = told("two")
    assert made.pair is not None
    assert made.pair.field == "y"
    first, clicked, slow = made.curves
    assert ([first.points, clicked.points], slow.field) == ([[], []], "y")
    assert slow.labels < slow.rows == ROWS
    assert made.age_why == "80 % of predictions have a label by then"
    assert made.ripe is not None
    assert made.ripe.at_age_coverage is not None
    assert None not in (made.ripe.at_least, made.ripe.at_most)
    assert [note for note in made.notes if note.startswith("Every row has a label of some field.")]


def test_feedback_without_any_prediction(told: Callable[..., Report]) -> None:
    """Where only orphans are, the report says that there is no prediction, and claims nothing of all rows."""
    made = told("orphans", choice=Choice())
    assert {curve.refused for curve in made.curves} == {"There are no predictions yet."}
    assert not [note for note in made.notes if note.startswith("Every row has a label")]


def test_rows_that_are_not_kept_cannot_be_counted(told: Callable[..., Report]) -> None:
    """With JOINBACK_EMIT=joined no curve is drawn, also not of a field that some rows lack."""
    made = told("two", emit="joined")
    assert [curve.points for curve in made.curves] == [[], [], []]
    assert {day.coverage for day in made.days} == {None}


def test_the_age_where_all_have_a_label(told: Callable[..., Report]) -> None:
    """The one age is then that by which most labels came, and so there is a figure."""
    made = told("all")
    assert (made.age_s, made.age_why) == (10 * 86_400, "80 % of the labels that came so far had come by then")
    assert made.ripe is not None
    assert made.ripe.at_age == pytest.approx(0.8, abs=0.01)


def test_a_prediction_without_an_output_misses_no_label(told: Callable[..., Report]) -> None:
    """Where no output can be compared, no label could ever count: the row is left out, and counted in a remark."""
    made = told("half")
    assert made.ripe is not None
    assert made.ripe.at_age_coverage == pytest.approx(1.0)
    assert made.ripe.predictions < ROWS / 2
    assert [note for note in made.notes if note.startswith("200 predictions lack an output to compare")]


def test_a_label_that_is_null_is_missing(told: Callable[..., Report]) -> None:
    """It counts as missing in coverage and bounds, and a remark says how many there are."""
    made = told("null", age_d=1)
    nulls = sum(n % 4 == 0 and n % 10 > 0 for n in range(ROWS))
    known = sum(n % 4 > 0 and n % 10 > 0 for n in range(ROWS))
    assert sum(day.labels for day in made.together) == known
    assert [note for note in made.notes if note.startswith(f"{nulls} labels that came cannot be compared")]


def test_what_nobody_tells_is_not_estimated(told: Callable[..., Report]) -> None:
    """If only one outcome is ever told, the others are what is missing: there is no estimate. A default is no label."""
    made = told("bought")
    assert {day.estimate for day in made.days} == {None}
    assert any(day.at_least is not None for day in made.days)
    assert not [note for note in made.notes if note.startswith("The default of")]
    with_rules = told("bought", RULES)
    assert [note for note in with_rules.notes if note.startswith("The default of 'y' is no label.")]


def test_young_days_are_called_what_they_are(told: Callable[..., Report]) -> None:
    """The warning names the first day of which some predictions are too young, and claims no more."""
    printed = " ".join(lines(told("two", age_d=10)))
    assert "For predictions from 2026-02-19 on, some of which are younger than 10 days" in printed
    assert "estimate: by the labels that come within 30 days, if delays stay as they were" in printed
