"""Each figure is what its formula says: counted again in plain Python, and by scikit-learn."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import msgspec
import pytest
from histories import NOW, RULES, histories
from ruled import file

from joinback.settings import Settings
from joinback_worker.answers.accuracy import Part, day_text
from joinback_worker.answers.answer import NoApplication, Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.estimate import Delays, delays_of, weighted
from joinback_worker.answers.report import report
from joinback_worker.answers.student import quantile
from joinback_worker.law.record import effective_at
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

DAY_S = 86_400
AGE_D = 3.0
CHOICES = {"prices": Choice(field="price", output="price")}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("figures")
    url = f"sqlite:///{folder}/sink.db"

    async def fill() -> None:
        async with open_sink(url, Policy(now=NOW)) as sink:
            await sink.merge(histories())

    asyncio.run(fill())
    return Settings(sink_url=url, config=file(folder, **RULES))


def asked(settings: Settings, application: str, **wanted: Any) -> Report:
    given = {"age_d": AGE_D, "choice": CHOICES.get(application, Choice())} | wanted
    return asyncio.run(report(settings, Wanted(application=application, now=NOW, **given)))


class Seen:
    """One prediction with a value of each side, as plain Python reads the records."""

    def __init__(self, record: Any, output: str | None, field: str) -> None:
        (prediction,) = record.predictions.values()
        outputs = msgspec.json.decode(prediction.outputs)
        self.served = effective_at(prediction)
        self.version, self.w = prediction.version, 1 / prediction.sample_rate
        self.ours = outputs if output is None else outputs[output]
        told = [] if record.retractions else list(record.feedback.values())
        self.label = msgspec.json.decode(told[0].feedback[field]) if told else None
        self.delay_s = max(0.0, (effective_at(told[0]) - self.served).total_seconds()) if told else None
        self.day = self.served.date().isoformat()
        self.is_ripe = (NOW - self.served.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() >= (
            AGE_D + 1
        ) * DAY_S

    def is_known(self, age_d: float = 1e9) -> bool:
        return self.delay_s is not None and self.delay_s <= age_d * DAY_S


def seen(application: str, output: str | None, field: str) -> list[Seen]:
    return [
        Seen(record, output, field)
        for record in histories()
        if record.application == application and record.predictions
    ]


def mean(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Of (value, weight)."""
    whole = sum(w for _, w in pairs)
    return sum(value * w for value, w in pairs) / whole if whole else None


@pytest.mark.parametrize(
    ("application", "output", "field", "value"),
    [
        ("loans", "default", "repaid", lambda s: (s.ours >= 0.5) == (s.label is False)),
        ("ads", None, "clicked", lambda s: (s.ours >= 0.5) == s.label),
        ("topics", "topic is", "topic is", lambda s: s.ours == s.label),
        ("prices", "price", "price", lambda s: abs(s.ours - s.label)),
    ],
)
def test_a_day_counted_again(settings: Settings, application: str, output: str | None, field: str, value: Any) -> None:
    """Predictions, coverage, so far, at one age and bounds of every day and version are those of a plain loop."""
    groups: dict[tuple[str, str | None], list[Seen]] = defaultdict(list)
    for one in seen(application, output, field):
        groups[one.day, one.version].append(one)
    told = asked(settings, application)
    assert {(day.day, day.version) for day in told.days} == set(groups)
    for day in told.days:
        rows = groups[day.day, day.version]
        known = [one for one in rows if one.is_known()]
        whole = sum(one.w for one in rows)
        assert (day.predictions, day.labels) == (len(rows), len(known))
        assert day.coverage == pytest.approx(sum(one.w for one in known) / whole, abs=1e-12)
        assert day.so_far == pytest.approx(mean([(value(one), one.w) for one in known]), abs=1e-12)
        ripe = [(value(one), one.w) for one in rows if one.is_known(AGE_D)] if rows[0].is_ripe else []
        assert day.ripe == rows[0].is_ripe
        assert day.at_age == pytest.approx(mean(ripe), abs=1e-12)
        if application == "prices":
            assert (day.at_least, day.at_most) == (None, None)
        else:
            right = sum(value(one) * one.w for one in known)
            missing = sum(one.w for one in rows if not one.is_known())
            assert day.at_least == pytest.approx(right / whole, abs=1e-12)
            assert day.at_most == pytest.approx((right + missing) / whole, abs=1e-12)


def test_the_triangle_counted_again(settings: Settings) -> None:
    """Each cell is the share and the accuracy by its age; it is empty exactly where the week is too young."""
    told = asked(settings, "loans").triangle
    rows = seen("loans", "default", "repaid")
    assert told is not None
    for week in told.weeks:
        inside = [one for one in rows if week.monday <= one.day < day_text(_day_number(week.monday) + 7)]
        assert week.predictions == len(inside)
        for age_s, cell in zip(told.ages_s, week.cells, strict=True):
            old = NOW.timestamp() - (_day_number(week.monday) + 7) * DAY_S >= age_s
            assert (cell is not None) == old
            if cell is not None:
                known = [one for one in inside if one.is_known(age_s / DAY_S)]
                assert cell.share == pytest.approx(len(known) / len(inside), abs=1e-12)
                rights = [((one.ours >= 0.5) == (one.label is False), 1.0) for one in known]
                assert cell.value == pytest.approx(mean(rights), abs=1e-12)


def _day_number(day: str) -> int:
    from datetime import date

    return date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal()


@pytest.mark.heavy
@pytest.mark.parametrize(("application", "output", "field", "positive"), [
    ("loans", "default", "repaid", False), ("ads", None, "clicked", True),
])  # fmt: skip
def test_scores_are_those_of_scikit_learn(
    settings: Settings, application: str, output: str | None, field: str, positive: bool
) -> None:
    """Area under the curve, Brier's score and the calibration table are scikit-learn's, weights and ties included."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss, roc_auc_score

    told = asked(settings, application)
    ripe = [one for one in seen(application, output, field) if one.is_ripe and one.is_known(AGE_D)]
    assert told.scores
    for scores in told.scores:
        mine = [one for one in ripe if one.version == scores.version]
        y, p, w = [one.label is positive for one in mine], [one.ours for one in mine], [one.w for one in mine]
        assert scores.labels == len(mine)
        assert scores.auc == pytest.approx(roc_auc_score(y, p, sample_weight=w), abs=1e-9)
        (side,) = [one for one in told.versions if one.version == scores.version]
        assert side.brier == pytest.approx(brier_score_loss(y, p, sample_weight=w, pos_label=True), abs=1e-9)
        days = [day for day in told.days if day.version == scores.version and day.brier is not None]
        for day in days:
            of_day = [one for one in mine if one.day == day.day]
            want = brier_score_loss(
                [one.label is positive for one in of_day], [one.ours for one in of_day],
                sample_weight=[one.w for one in of_day], pos_label=True,
            )  # fmt: skip
            assert day.brier == pytest.approx(want, abs=1e-9)
        if application == "loans":  # its calibration table takes no weights
            came, said = calibration_curve(y, p, n_bins=10)
            assert [b.share_positive for b in scores.buckets] == pytest.approx(list(came), abs=1e-9)
            assert [b.mean_score for b in scores.buckets] == pytest.approx(list(said), abs=1e-9)


def test_an_area_counted_again(settings: Settings) -> None:
    """The area is the share of pairs in order, ties half, each weighted."""
    ripe = [one for one in seen("ads", None, "clicked") if one.is_ripe and one.is_known(AGE_D)]
    for scores in asked(settings, "ads").scores:
        mine = [one for one in ripe if one.version == scores.version]
        pairs = [
            (1.0 if a.ours > b.ours else 0.5 if a.ours == b.ours else 0.0, a.w * b.w)
            for a in mine for b in mine if a.label and not b.label
        ]  # fmt: skip
        assert scores.auc == pytest.approx(mean(pairs), abs=1e-12)


def test_what_chance_gives_counted_again(settings: Settings) -> None:
    """It is Mann and Whitney's deviation below a half, with Kish's effective numbers of both labels."""
    ripe = [one for one in seen("ads", None, "clicked") if one.is_ripe and one.is_known(AGE_D)]
    assert len({one.w for one in ripe}) > 1
    for scores in asked(settings, "ads").scores:
        weights = [(one.label, one.w) for one in ripe if one.version == scores.version]
        a, b = ([w for label, w in weights if bool(label) is side] for side in (True, False))
        m, n = (sum(one) ** 2 / sum(w * w for w in one) for one in (a, b))
        assert scores.auc_by_chance == pytest.approx(0.5 - 3.2905 * ((m + n + 1) / (12 * m * n)) ** 0.5, abs=1e-5)


def test_the_bias_counted_again(settings: Settings) -> None:
    """By version, the mean of output minus label over the ripe labels."""
    ripe = [one for one in seen("prices", "price", "price") if one.is_ripe and one.is_known(AGE_D)]
    told = asked(settings, "prices").versions
    assert {side.version for side in told} == {"a", "b"}
    for side in told:
        want = fmean(one.ours - one.label for one in ripe if one.version == side.version)
        assert (side.bias, side.brier) == (pytest.approx(want, abs=1e-9), None)


def test_quantiles_counted_again(settings: Settings) -> None:
    """The share of ripe labels that are not above the output `p90`."""
    ripe = [one for one in seen("prices", "p90", "price") if one.is_ripe and one.is_known(AGE_D)]
    want = fmean(one.label <= one.ours for one in ripe)
    assert asked(settings, "prices").quantiles["p90"] == pytest.approx(want, abs=1e-12)


def test_the_interval_of_two_errors_is_welchs(settings: Settings) -> None:
    """The difference of mean absolute errors, and its interval by Student's t, of ripe labels alone."""
    told = asked(settings, "prices").comparison
    assert told is not None
    errors: dict[str, list[float]] = defaultdict(list)
    for one in seen("prices", "price", "price"):
        if one.is_ripe and one.is_known(AGE_D):
            errors[str(one.version)].append(abs(one.ours - one.label))
    a, b = errors["a"], errors["b"]
    va, vb = variance(a) / len(a), variance(b) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = quantile(freedom) * (va + vb) ** 0.5
    difference = fmean(b) - fmean(a)
    found = (told.difference, told.low, told.high)
    assert found == pytest.approx((difference, difference - half, difference + half), abs=1e-9)


def test_named_versions_are_compared(settings: Settings) -> None:
    """`--version` says which two, and in which order; one without a ripe day is named."""
    told = asked(settings, "ads", versions=("v2", "v1"))
    assert told.comparison is not None
    assert (told.comparison.a.version, told.comparison.b.version) == ("v2", "v1")
    told = asked(settings, "ads", versions=("v2", "v9"))
    assert told.comparison is None
    assert any("v9" in note for note in told.notes)


def test_a_label_counts_for_those_to_come() -> None:
    """Of 10 good labels when all good ones are known and 5 bad ones when half are, there are 20 in truth."""
    delays = Delays(10.0, {1.0: [0.0, 1.0, 1.0], 0.0: [0.0, 0.5, 1.0]})
    assert weighted({1.0: Part(10, 10, 10), 0.0: Part(5, 5, 0)}, 5.0, delays) == pytest.approx(0.5)
    assert delays.share(0.0, 2.5) == pytest.approx(0.25)


def test_no_estimate_without_an_old_cohort_of_an_outcome() -> None:
    """An outcome that old cohorts lack, or have too few of, or a share below a tenth, or no second outcome: none."""
    two = [(outcome, n, 10.0, 10) for outcome in (1.0, 2.0) for n in range(10)]
    delays = delays_of([*two, (0.0, 3, 5.0, 5)], 10.0, 10)
    assert delays is not None
    assert weighted({1.0: Part(10, 10, 10)}, 5.0, delays) == pytest.approx(1.0)
    assert weighted({1.0: Part(10, 10, 10), 0.0: Part(1, 1, 0)}, 5.0, delays) is None
    assert weighted({1.0: Part(10, 10, 10)}, 0.5, delays) is None
    assert delays_of([*two[:10], (0.0, 3, 5.0, 5)], 10.0, 10) is None


def test_without_unlabelled_rows_there_is_no_coverage(settings: Settings) -> None:
    """With JOINBACK_EMIT=joined coverage, bounds and estimates are not told, and a note says why."""
    from msgspec import structs

    told = asked(structs.replace(settings, emit="joined"), "loans")
    assert {(d.coverage, d.at_least, d.at_most, d.estimate, d.at_age_coverage) for d in told.days} == {(None,) * 5}
    assert any("JOINBACK_EMIT=joined" in note for note in told.notes)


def test_an_unknown_application_knows_the_others(settings: Settings) -> None:
    """The error has the names that the sink holds."""
    with pytest.raises(NoApplication) as error:
        asked(settings, "loan")
    assert error.value.known == ["ads", "loans", "prices", "scored", "topics"]
    assert Path(settings.sink_url.removeprefix("sqlite:///")).exists()
