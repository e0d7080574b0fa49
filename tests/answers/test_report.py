"""`joinback report`, as it is typed: what it prints, writes and refuses."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent
from typing import Any

import pytest
from histories import NOW, histories
from made_up_records import record_of
from msgspec import UNSET, Raw, structs

from joinback.settings import Settings
from joinback_worker.answers.keeping import lines_to_keep
from joinback_worker.answers.pairing import Pair
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.config.rules_file import look
from joinback_worker.dashboard.mailed import page
from joinback_worker.law.rules import Policy, Rules
from joinback_worker.sinks import open_sink

NAME = "loans<script>alert(1)</script>"
Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sink of loans, and of an application whose names are made to break a page."""
    now = datetime.now(UTC)
    url = f"sqlite:///{tmp_path_factory.mktemp('report')}/sink.db"

    async def fill() -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, now) for loan in made_up_loans(3_000, now)])
            evil = [record_of(loan, now, NAME) for loan in made_up_loans(400, now)]
            for record in evil:
                prediction = record.predictions["p"]
                record.predictions["p"] = structs.replace(
                    prediction, outputs=Raw(b'{"<img src=x>":0.4}'), version="<b>\x1b[31m"
                )
            await sink.merge(evil)

    asyncio.run(fill())
    return url


@pytest.fixture
def report(cli: Run, url: str) -> Run:
    def run(*arguments: str, **variables: str) -> "CompletedProcess[str]":
        return cli("report", *arguments, JOINBACK_SINK_URL=url, **variables)

    return run


def test_all_of_it_fits_a_terminal(report: Run) -> None:
    """Every part is there, no line is longer than 80 columns, and nothing stands on stderr."""
    done = report("loans", "--positive", "false")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for part in ("HOW LATE LABELS COME: repaid", "BY PREDICTION DAY", "LABEL TRIANGLE", "VERSIONS", "CALIBRATION"):
        assert any(part in line for line in lines), part
    assert "output 'default' >= 0.5 against field 'repaid' = false" in done.stdout
    assert "guessed" not in report("loans", "--output", "default").stdout
    assert "unripe" in done.stdout


def test_a_comparison_can_be_kept(report: Run, tmp_path: Path) -> None:
    """The lines that it prints, put into joinback.toml, give the same comparison without options, and no more lines."""
    asked = report("loans", "--output", "default", "--threshold", "0.4", "--positive", "false").stdout
    assert "To keep this comparison" in asked
    lines = asked.split("(JOINBACK_CONFIG):\n")[1].split("\n\n")[0]
    path = tmp_path / "joinback.toml"
    path.write_text(dedent(lines))
    kept = report("loans", JOINBACK_CONFIG=str(path)).stdout
    assert "output 'default' >= 0.4 against field 'repaid' = false\n          (as set)" in kept
    assert "To keep this comparison" not in kept


@pytest.mark.parametrize("name", ["loans", 'a.b "c" \\ d', "Kredite über 1 000 €"])
@pytest.mark.parametrize(
    ("positive", "declared"), [(True, UNSET), (False, False), (1, UNSET), (0, False), ("fraud", "fraud")]
)
def test_what_is_kept_is_what_was_meant(name: str, positive: object, declared: object, tmp_path: Path) -> None:
    """The rules that are read from the lines are those of the comparison, whatever the names are."""
    is_text = isinstance(positive, str)
    pair = Pair(field=name, output=f"scores.{name}", kind="score", threshold=0.25, positive=positive, is_text=is_text)
    path = tmp_path / "joinback.toml"
    path.write_text("\n".join(lines_to_keep(name, pair, Rules())), encoding="utf-8")
    config, problems = look(Settings(config=str(path)))
    assert problems == ()
    found = config.rules_of(name).feedback[name]
    assert (found.output, found.threshold, found.positive) == (pair.output, 0.25, declared)
    assert lines_to_keep(name, pair, config.rules_of(name)) == []


def test_json_has_every_figure(report: Run) -> None:
    """One object, with what the terminal rounds."""
    told = json.loads(report("loans", "--positive", "false", "--age-days", "14", "--json").stdout)
    assert told["age_s"] == 14 * 86_400
    assert told["statuses"]["joined"] + told["statuses"]["predicted"] == 3_000
    assert sum(day["predictions"] for day in told["days"]) == 3_000
    assert told["pair"] == told["pair"] | {"field": "repaid", "output": "default", "positive": False}
    assert len(told["scores"]) == len(told["versions"]) == 2


@pytest.mark.parametrize("table", ["days", "curve", "triangle", "versions", "calibration"])
def test_csv_is_one_table(report: Run, table: str) -> None:
    """A head and rows of the same width, for each table that can be named."""
    rows = list(csv.reader(io.StringIO(report("loans", "--positive", "false", "--csv", table).stdout)))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sink of numbers with their quantiles, of three versions."""
    url = f"sqlite:///{tmp_path_factory.mktemp('prices')}/sink.db"
    records = [record for record in histories() if record.application == "prices"]
    for record in records[::3]:
        record.predictions["p"] = structs.replace(record.predictions["p"], version="c")

    async def fill() -> None:
        async with open_sink(url, Policy(now=NOW)) as sink:
            await sink.merge(records)

    asyncio.run(fill())
    return url


def test_a_report_of_numbers(cli: Run, prices: str, tmp_path: Path) -> None:
    """Mean absolute error and bias by version, and quantile coverage: in the terminal, as CSV, and on the page."""

    def run(*arguments: str) -> str:
        done = cli("report", "prices", "--field", "price", "--age-days", "14", *arguments, JOINBACK_SINK_URL=prices)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    printed = run()
    assert max(map(len, printed.splitlines())) <= 80
    assert "bounds: accuracy" not in printed
    assert "to compare two: --version A --version B" in printed
    head, *versions = csv.reader(io.StringIO(run("--csv", "versions")))
    assert [row[0] for row in versions] == ["a", "b", "c"]
    for row in versions:
        told = dict(zip(head, row, strict=True))
        line = next(line for line in printed.splitlines() if line.startswith(f"  {told['version']}  "))
        assert line.split()[-2:] == [f"{float(told['mean_absolute_error']):.3f}", f"{float(told['bias']):.3f}"]
    head, *quantiles = csv.reader(io.StringIO(run("--csv", "quantiles")))
    assert [row[:2] for row in quantiles] == [["p10", "0.1"], ["p90", "0.9"]]
    run("--html", str(tmp_path / "prices.html"))
    page = (tmp_path / "prices.html").read_text()
    assert "Bias" in page
    for name, _, share in quantiles:
        sentence = f"{float(share) * 100:.1f} % of labels are at most {name}"
        assert sentence in printed
        assert sentence in page


def test_since_leaves_older_predictions_out(report: Run) -> None:
    """Only predictions from that day on."""
    whole = json.loads(report("loans", "--json").stdout)["days"]
    day = whole[len(whole) // 2]["day"]
    told = json.loads(report("loans", "--since", day, "--json").stdout)["days"]
    assert [one["day"] for one in told] == [one["day"] for one in whole if one["day"] >= day]


class Tags(HTMLParser):
    """What a browser would make of a page: elements and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_stands_alone_and_escapes(report: Run, tmp_path: Path) -> None:
    """No script, image, link or address; names that are markup are text; each picture has a name and a table."""
    file = tmp_path / "page.html"
    done = report(NAME, "--html", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    text = file.read_text()
    tags = Tags(text).found
    assert not {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "b", "object", "a"}
    assert not re.search(r"https?://|url\(|@import|\son\w+=", text)
    assert "&lt;script&gt;" in text
    (policy,) = [one["content"] for tag, one in tags if tag == "meta" and "http-equiv" in one]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    pictures = [attributes for tag, attributes in tags if tag == "svg"]
    named = [one for one in pictures if one.get("role") == "img"]
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert named
    assert all(set(one["aria-labelledby"].split()) <= ids for one in named)
    assert all(one["aria-hidden"] == "true" for one in pictures if one not in named)
    assert sum(tag == "table" for tag, _ in tags) >= len(named)
    assert len(text) < 200_000


def test_a_terminal_is_not_driven_by_names(report: Run) -> None:
    """An escape sequence in a version is shown, not sent."""
    done = report(NAME)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def test_an_unknown_application_is_told_the_nearest_name(report: Run) -> None:
    """Exit code 2, one line."""
    done = report("loan")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "joinback: no application loan; did you mean loans?\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--field", "paid"], "no feedback has the field 'paid'; known are repaid"),
        (["--output", "risk"], "no output 'risk'; known are default"),
        (["--since", "yesterday"], "is not a date; write it as 2026-10-01"),
        (["--version", "1.0"], "--version compares two: give it twice"),
        (["--age-days", "0"], "0 is not in the range"),
        (["--age-days", "nan"], "'nan' is not a finite number"),
        (["--threshold", "7"], "threshold 7: the output 'default' is a probability"),
        (["--positive", "maybe"], "positive maybe: the field 'repaid' has no such label"),
        (["--html", "/nowhere/page.html"], "cannot be written"),
    ],
)
def test_what_is_wrong_is_said(report: Run, arguments: list[str], said: str) -> None:
    """Exit code 2 and the fix, never a traceback."""
    done = report("loans", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_sink_yet(cli: Run, tmp_path: Path) -> None:
    """A sink that is not there is named, and none is made."""
    done = cli("report", "loans", JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/none.db")
    assert done.returncode == 2
    assert "does not exist yet" in done.stderr
    assert not list(tmp_path.glob("none*"))
    done = cli("report", "loans", JOINBACK_SINK_URL="stdout:")
    assert done.returncode == 2
    assert "keeps no rows" in done.stderr


def test_it_changes_nothing(report: Run, url: str) -> None:
    """The sink's file is the same, byte for byte, and none stands beside it."""
    path = Path(url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    assert report("loans").returncode == 0
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_page_of_nothing(url: str) -> None:
    """A report without labels makes a page too."""
    from joinback_worker.answers.answer import Report
    from joinback_worker.answers.curve import Curve

    told = Report(
        application="a", now=datetime(2026, 1, 1, tzinfo=UTC), statuses={}, age_s=86_400.0, age_why="as asked",
        curves=[Curve(field=None, refused="No label came yet.")],
    )  # fmt: skip
    assert "No label came yet." in page(told)
    assert Settings(sink_url=url).sink_url == url
