"""A report of labels that are not plain yes and no: what it says at its top, what it remarks, and what can be kept."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from answers.odd_records import NOW, put, record

from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.report import report
from joinback_worker.cli.report_text import lines
from joinback_worker.dashboard.mailed import page
from joinback_worker.law.rules import Policy

NOTHING = Choice()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('odd')}/sink.db"
    made = []
    for n in range(80):
        share = (n % 10 + 0.5) / 10
        made += [
            record("bought", n, {"p": share}, {"bought": True}),
            record("bare", n, share, {"y": share > 0.4}),
            record("grown", n, share, {"y": share > 0.4, "z": True}),
            record("digits", n, {"p": share}, {"y": int(share < 0.4)}),
            record("stars", n, {"p": share}, {"stars": n % 5 + 1}),
            record("words", n, {"yes": True}, {"ok": "true"}),
        ]

    put(url, made, Policy(now=NOW))
    return url


@pytest.fixture
def told(url: str, tmp_path: Path) -> Callable[..., Report]:
    def asked(application: str, choice: Choice = NOTHING, kept: str = "") -> Report:
        # A file is read once per process.
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.toml"
        path.write_text(kept)
        settings = Settings(sink_url=url, config=str(path))
        return asyncio.run(report(settings, Wanted(application=application, now=NOW, choice=choice, age_d=7)))

    return asked


def test_the_reason_stands_at_the_top(told: Callable[..., Report]) -> None:
    """Without a comparison, its reason stands where the comparison would, and again among the remarks at the end."""
    printed = list(lines(told("words")))
    at = next(n for n, line in enumerate(printed) if line.startswith("compared  nothing: the output 'yes' is true or"))
    assert at < next(n for n, line in enumerate(printed) if line.startswith("one age"))
    assert any(line.startswith("! No accuracy: the output 'yes'") for line in printed)
    assert max(map(len, printed)) <= 80
    assert not [line for line in lines(told("digits")) if line.startswith("compared  nothing")]


@pytest.mark.parametrize(
    ("application", "table", "is_told"), [("words", "days", True), ("words", "curve", False), ("digits", "days", False)]
)
def test_an_empty_table_has_its_reason(
    cli: Callable[..., "CompletedProcess[str]"], url: str, application: str, table: str, is_told: bool
) -> None:
    """--csv says on stderr why a table of accuracy has no figures; the table itself stays as it is."""
    done = cli("report", application, "--csv", table, JOINBACK_SINK_URL=url)
    assert done.returncode == 0
    assert ("joinback: nothing is compared: the output 'yes' is true or false" in done.stderr) == is_told
    assert "compared" not in done.stdout


def test_only_one_value_was_ever_seen(told: Callable[..., Report]) -> None:
    """If only true ever comes, the report and the page say that the figures tell nothing of anything else."""
    sentence = "The field 'bought' has only ever had one value, true: the figures say nothing"
    made = told("bought")
    assert [note for note in made.notes if note.startswith(sentence)]
    assert "has only ever had one value, true" in page(made)
    assert not [note for note in told("digits").notes if "one value" in note]


@pytest.mark.parametrize(
    ("application", "choice"),
    [
        ("bare", Choice(threshold=0.4)),
        ("digits", Choice(positive=0)),
        ("digits", Choice(positive=1, threshold=0.3)),
    ],
)
def test_a_kept_comparison_reads_the_same(told: Callable[..., Report], application: str, choice: Choice) -> None:
    """With the printed lines in joinback.toml the comparison is the one that was chosen, word for word."""
    chosen = told(application, choice)
    assert chosen.pair is not None
    kept = told(application, kept="\n".join(chosen.to_keep))
    assert kept.pair is not None
    assert (kept.pair.said, kept.pair.guessed) == (chosen.pair.said, False)
    assert (kept.days, kept.to_keep) == (chosen.days, [])


def test_a_second_field_changes_nothing(told: Callable[..., Report]) -> None:
    """What was kept of an output without a name still means its field when another field comes."""
    assert told("grown").pair is None
    kept = "\n".join(told("bare").to_keep).replace("applications.bare", "applications.grown")
    pair = told("grown", kept=kept).pair
    assert pair is not None
    assert (pair.field, pair.guessed) == ("y", False)


def test_a_type_that_converts_is_named(told: Callable[..., Report]) -> None:
    """If the lines declare a type, one of them says that it also converts values in rows; without a type, none does."""
    (line,) = (line for line in told("digits", Choice(positive=0)).to_keep if "type" in line)
    assert line == 'type = "bool"  # also converts values of this field in rows: 1 to true'
    assert len(line) + 2 <= 80
    assert not [line for line in told("digits", Choice(positive=1)).to_keep if "type" in line or "#" in line]


def test_what_cannot_be_kept_is_said(told: Callable[..., Report]) -> None:
    """A number as the positive label cannot be declared: the report says so, and what to pass each time."""
    chosen = told("stars", Choice(positive=5))
    assert chosen.to_keep == []
    assert (
        "This comparison cannot be kept, as joinback.toml takes no number as the positive label."
        " Pass each time: --field stars --output p --threshold 0.5 --positive 5"
    ) in chosen.notes
    passed = told("stars", Choice(field="stars", output="p", threshold=0.5, positive=5))
    assert passed.pair is not None
    assert chosen.pair is not None
    assert passed.pair.said == chosen.pair.said
    declared = '[applications.digits.feedback.y]\ntype = "int"\n'
    assert "is not that of 0" in " ".join(told("digits", Choice(positive=0), kept=declared).notes)
