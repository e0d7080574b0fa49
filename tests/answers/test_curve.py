"""The label curve: Kaplan and Meier's, exact, cut where few are at risk, and refused where it cannot be had."""

import asyncio
import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from answers.odd_records import put
from events import NOON, prediction, record, retraction
from events import feedback as told
from msgspec import structs
from ruled import file, policy

from joinback.settings import Settings
from joinback_worker.answers import questions
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.curve import SHARES, Curve, ages_us, curve_of, duration, sensible_age_s
from joinback_worker.answers.engines import SQLite
from joinback_worker.answers.questions import AT_RISK_MIN, Asked
from joinback_worker.answers.report import report
from joinback_worker.answers.stores import open_store
from joinback_worker.law.record import Record

DAY_S = 86_400


def reported(url: str, now: datetime, **settings: Any) -> Report:
    return asyncio.run(report(Settings(sink_url=url, **settings), Wanted(application="loans", now=now)))


def drawn(waits: Sequence[tuple[int, int | None]], maturity_s: int | None = None, extra: Sequence[int] = ()) -> Curve:
    """Return the curve of (age, delay) in microseconds, through the query itself."""
    ages = sorted({*ages_us(max(age for age, _ in waits), maturity_s), *extra})
    question = questions.curve(SQLite(), Asked(application="a", now_us=0), ages, SHARES)
    # The common tables before `ends` are those of `records`.
    question = "with ends" + question.partition(", ends")[2]
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table waits (age integer, delay integer)")
        database.executemany("insert into waits values (?, ?)", waits)
        return curve_of("repaid", ages, database.execute(question).fetchall(), maturity_s)


def random_waits(seed: int, count: int = 2_000) -> list[tuple[int, int | None]]:
    """Half of them in whole hours, so that labels and ends of watching fall together."""
    chance = random.Random(seed)
    found: list[tuple[int, int | None]] = []
    for n in range(count):
        unit = 3_600_000_000 if n % 2 else 1
        age = round(chance.uniform(1, 60 * DAY_S) * 1e6) // unit * unit
        delay = round(chance.expovariate(1 / (9 * DAY_S)) * 1e6) // unit * unit
        found.append((age, delay if delay <= age and chance.random() < 0.9 else None))
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_lifelines(seed: int) -> None:
    """Share, band and percentiles are those of lifelines' KaplanMeierFitter, to 1e-9."""
    from lifelines import KaplanMeierFitter
    from lifelines.utils import qth_survival_time

    waits = random_waits(seed)
    curve = drawn(waits, 30 * DAY_S)
    ends = [(age if delay is None else delay) / 1e6 for age, delay in waits]
    fitter = KaplanMeierFitter().fit(ends, [delay is not None for _, delay in waits])
    band = fitter.confidence_interval_survival_function_
    assert len(curve.points) > 60
    for point in curve.points:
        assert point.share == pytest.approx(1 - float(fitter.predict(point.age_s)), abs=1e-9)
        row = band.loc[: point.age_s].iloc[-1]
        assert (point.low, point.high) == pytest.approx((1 - row.iloc[1], 1 - row.iloc[0]), abs=1e-9)
    for share in SHARES:
        age_s = curve.ages_s[f"p{share * 100:g}"]
        if age_s is not None:
            assert age_s == pytest.approx(qth_survival_time(1 - share, fitter.survival_function_), abs=1e-6)
    assert curve.ages_s["p50"] is not None


def test_it_is_the_product_of_its_steps() -> None:
    """Of few rows, counted by hand: three labels, one row that is only watched for two days."""
    day = DAY_S * 1_000_000
    waits: list[tuple[int, int | None]] = [(9 * day, 1 * day), (2 * day, None), (9 * day, 3 * day)]
    waits += [(9 * day, None)] * 40
    curve = drawn(waits, extra=[day, 3 * day])
    shares = {point.age_s / DAY_S: (point.share, point.at_risk) for point in curve.points}
    assert shares[1.0] == (pytest.approx(1 / 43), 42)
    assert shares[3.0] == (pytest.approx(1 - 42 / 43 * 40 / 41), 40)


def test_it_ends_where_few_are_at_risk() -> None:
    """No point has fewer than thirty rows at risk; where all have fewer, it says so instead."""
    curve = drawn(random_waits(1))
    assert min(point.at_risk for point in curve.points) >= AT_RISK_MIN
    assert curve.points[-1].age_s < 60 * DAY_S
    few = drawn(random_waits(1, 20))
    assert few.points == []
    assert "too few" in few.sentence


def test_labels_that_come_all_at_once() -> None:
    """A nightly job's labels: the step counts, as all were at risk then, though few are after it; and it is the end."""
    day = DAY_S * 1_000_000
    waits: list[tuple[int, int | None]] = [(40 * day, day)] * 390 + [(40 * day, None)] * 10
    last = drawn(waits).points[-1]
    assert (last.age_s, last.share, last.at_risk) == (DAY_S, pytest.approx(390 / 400), 400)
    # Of 29 at risk there is no step.
    later = drawn([*waits[:371], *[(40 * day, 2 * day + 1)] * 19, *waits[390:]]).points[-1]
    assert (later.age_s, later.share) == (DAY_S, pytest.approx(371 / 400))


def test_percentiles_are_exact() -> None:
    """A percentile is the microsecond of a label, not the end of a bin."""
    waits = [(100 * DAY_S * 1_000_000, 1_000_003 + 7 * n) for n in range(100)]
    assert drawn(waits).ages_s["p50"] == pytest.approx((1_000_003 + 7 * 49) / 1e6, abs=1e-9)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/sink.db"


def loans(
    count: int, labelled: int, delay_s: int = 3_600, more: Mapping[int, Mapping[str, bytes]] = MappingProxyType({})
) -> list[Record]:
    """So many predictions at noon; the first of them labelled after the delay."""
    found = []
    for n in range(count):
        fields = {"prediction:p": prediction(n), **more.get(n, {})}
        if n < labelled:
            fields["feedback:f"] = told(n + delay_s, repaid=True)
        found.append(structs.replace(record(fields, f"k{n}"), application="loans"))
    return found


def test_the_sentence_of_a_maturity(url: str, tmp_path: Path) -> None:
    """It says how many labels come within the maturity that is declared of the field."""
    config = file(tmp_path, loans={"feedback": {"repaid": {"maturity_s": 2 * DAY_S}}})
    put(url, loans(1_000, 870))
    (curve,) = reported(url, NOON + timedelta(days=9), config=config).curves
    assert curve.sentence == "87 % of labels come within your 2 days."


def test_a_negative_delay_is_age_0(url: str) -> None:
    """Feedback before its prediction counts as there at once."""
    put(url, loans(100, 50, -60))
    (curve,) = reported(url, NOON + timedelta(days=2)).curves
    assert (curve.points[0].age_s, curve.points[0].share) == (0.0, pytest.approx(0.5))
    assert curve.ages_s["p50"] == 0.0


def test_defaults_and_what_was_taken_back_are_no_labels(url: str) -> None:
    """A default value, a retracted label and a label of another field leave a row as one that still waits."""
    more = {n: {"retraction:r": retraction(9_000, ["repaid"])} for n in range(10)}
    more |= {n: {"feedback:g": told(n + 100, late=True)} for n in range(50, 60)}
    records = loans(100, 40, more=more)
    now = NOON + timedelta(days=9)
    rules = policy(now, feedback={"repaid": {"maturity_s": DAY_S, "default": False}})
    put(url, records, rules)
    curves = {curve.field: curve for curve in reported(url, now).curves}
    assert (curves["repaid"].rows, curves["repaid"].labels) == (100, 30)
    assert (curves[None].labels, curves["late"].labels) == (40, 10)


def test_labels_of_later_are_not_known(url: str) -> None:
    """Asked as of a day, a label told after it does not count, and no prediction made after it."""
    put(url, loans(101, 100, 3_600))
    (curve,) = reported(url, NOON + timedelta(seconds=3_600 + 49)).curves
    assert (curve.rows, curve.labels) == (101, 50)


def test_no_curve_without_unlabelled_rows(url: str) -> None:
    """Where only labelled rows are kept it is refused, with the reason: by the setting, and by the rows."""
    put(url, loans(100, 100))
    (curve,) = reported(url, NOON + timedelta(days=2)).curves
    assert curve.points == []
    assert "JOINBACK_EMIT=joined" in curve.sentence
    put(url, loans(101, 100))
    (curve,) = reported(url, NOON + timedelta(days=2), emit="joined").curves
    assert "JOINBACK_EMIT=joined" in curve.sentence


def test_no_curve_without_labels(url: str) -> None:
    """Where nothing was labelled it says so."""
    put(url, loans(100, 0))
    told_of = reported(url, NOON + timedelta(days=2))
    assert "No label has come yet" in told_of.curves[0].sentence
    assert any("no prediction has a label yet" in note for note in told_of.notes)


def test_sqlite_without_mathematics(url: str) -> None:
    """A build of SQLite that lacks ln() answers as well: Python lends it one."""
    put(url, loans(100, 50))
    want = reported(url, NOON + timedelta(days=2)).curves

    def missing(_: float) -> float:
        raise RuntimeError

    async def without_ln() -> list[tuple[Any, ...]]:
        async with open_store(Settings(sink_url=url), "loans") as store:
            connection = store._sink._connection  # type: ignore[attr-defined]
            connection.create_function("ln", 1, missing)
            ages = ages_us(2 * DAY_S * 1_000_000)
            asked = Asked(
                application="loans", now_us=round((NOON + timedelta(days=2)).timestamp() * 1e6), field="repaid"
            )
            return await store.ask(questions.curve(store.dialect, asked, ages, SHARES))

    curve = curve_of("repaid", ages_us(2 * DAY_S * 1_000_000), asyncio.run(without_ln()))
    assert curve.labels == want[0].labels == 50


def test_the_age_is_the_maturity_or_what_most_labels_take() -> None:
    """The maturity where predictions are so old; else the age by which 80 % came, rounded up; else a day."""
    curve = drawn(random_waits(1))
    assert sensible_age_s(curve, 30 * DAY_S, 60 * DAY_S)[0] == 30 * DAY_S
    age_s, why = sensible_age_s(curve, 90 * DAY_S, 60 * DAY_S)
    assert age_s % DAY_S == 0
    assert "80 %" in why
    assert sensible_age_s(None, None, DAY_S)[0] == DAY_S


def test_durations_are_said_as_people_do() -> None:
    """Days, hours, minutes, seconds."""
    assert [duration(s) for s in (30 * DAY_S, DAY_S, 5_400, 60, 0.5)] == [
        "30 days", "1 day", "1.5 hours", "1 minute", "0.5 seconds",
    ]  # fmt: skip
