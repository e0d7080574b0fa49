"""Predictions without a version have one name: in tables, sentences and options, and in the dashboard's addresses."""

import asyncio
import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from subprocess import CompletedProcess
from typing import Any

import msgspec
import pytest
from dashboard.pages import Page
from msgspec import Raw
from starlette.testclient import TestClient

from joinback import wire
from joinback.settings import Settings
from joinback_worker.answers.remarks import inverted
from joinback_worker.answers.scores import Scores
from joinback_worker.answers.versions import by_name, order, said, shown
from joinback_worker.dashboard.app import app
from joinback_worker.dashboard.desk import Desk
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

NOW = datetime.now(UTC)
APPLICATIONS: dict[str, Sequence[str | None]] = {"some": [None, "1.0"], "empty": ["", "1.0"], "all": [None, "", "-"]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('versions')}/sink.db"

    async def fill() -> None:
        async with open_sink(url, Policy(now=NOW)) as sink:
            await sink.merge([record(name, n) for name in APPLICATIONS for n in range(60)])

    asyncio.run(fill())
    return url


def record(application: str, n: int) -> Record:
    at = NOW - timedelta(days=20, hours=n)
    versions = APPLICATIONS[application]
    said = Raw(msgspec.json.encode({"p": (n % 10 + 0.5) / 10}))
    version = versions[n % len(versions)]
    prediction = wire.Prediction(v=1, at=at, logged_at=at, version=version, inputs=Raw(b"{}"), outputs=said)
    told = wire.Feedback(
        v=1, at=at + timedelta(days=1), logged_at=at, feedback={"y": Raw(b"true" if n % 7 > 2 else b"false")}
    )
    return Record(
        application=application,
        join_key=f"{n}",
        predictions={"p": prediction},
        feedback={"f": told} if n % 5 else {},
    )


@pytest.fixture
def run(cli: Callable[..., "CompletedProcess[str]"], url: str) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = cli("report", *arguments, "--age-days", "3", JOINBACK_SINK_URL=url)
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split()) if "--csv" not in arguments else done.stdout

    return run


def test_the_name_that_is_shown_can_be_chosen(run: Callable[..., str]) -> None:
    """`-` stands in the tables and in CSV, and --version takes it; the sentence says what it is."""
    assert "1.0 minus - (no version): " in run("some")
    assert "- (no version) minus 1.0: " in run("some", "--version", "1.0", "--version", "-")
    assert "version -: predictions without a version" in run("some")
    assert "Version None has no ripe day; those that have one: -, 1.0." in run(
        "some", "--version", "1.0", "--version", "None"
    )
    for table in ("days", "versions", "calibration"):
        head, *rows = csv.reader(io.StringIO(run("some", "--csv", table)))
        assert {row[head.index("version")] for row in rows} == {"-", "1.0"}


def test_an_empty_version_is_quoted(run: Callable[..., str]) -> None:
    """It has a name in sentences and tables, and is chosen by that name, or as it is."""
    assert "1.0 minus '': " in run("empty")
    for name in ("''", ""):
        assert "'' minus 1.0: " in run("empty", "--version", "1.0", "--version", name)
    assert "'' minus - (no version): " in run("all", "--version", "-", "--version", "")
    assert "'-' minus - (no version): " in run("all", "--version", "-", "--version", "'-'")


def test_the_dashboard_takes_the_same_names(url: str) -> None:
    """It offers predictions without a version, shows their days, and compares them."""
    visitor = TestClient(app(Desk(settings=Settings(sink_url=url))), base_url="http://127.0.0.1")

    def page(**asked: Any) -> Page:
        answer = visitor.get("/application", params={"application": "some", "age": "3"} | asked)
        assert answer.status_code == 200
        return Page(answer.text)

    found = page(version="-")
    assert "version - (no version)" in found.said
    assert [one["value"] for one in found.all("option")].count("-") == 3
    alone, together = (sum(int(row[1]) for row in one.tables["days-table"][1:]) for one in (found, page()))
    assert (alone, together) == (30, 60)
    assert "- (no version) minus 1.0" in page(compare=["1.0", "-"]).said
    assert [row[0] for row in page().tables["versions-table"]] == ["Version", "- (no version)", "1.0"]
    refused = visitor.get("/application?application=some&compare=&compare=1.0")
    assert "give it twice; predictions without a version are -" in Page(refused.text).said


def test_a_version_that_looks_like_none() -> None:
    """The name as it is shown has precedence; without it a version is chosen by itself."""
    assert [shown(one) for one in (None, "-", "", "1")] == ["-", "'-'", "''", "1"]
    both = by_name([None, "-"])
    assert (both["-"], both["'-'"]) == (None, "-")
    assert by_name(["-"])["-"] == "-"
    assert sorted(["b", "", None], key=order) == [None, "", "b"]
    assert said(None) == "- (no version)"


def test_a_remark_names_it_beside_others() -> None:
    """If the scores of predictions without a version are the wrong way round, the remark does not mean all."""
    wrong = Scores(version=None, labels=9, auc=0.1, auc_by_chance=0.4, calibration_error=None, buckets=[])
    right = Scores(version="1", labels=9, auc=0.9, auc_by_chance=0.4, calibration_error=None, buckets=[])
    assert "The scores of version - (no version) order" in str(inverted([wrong, right]))
    assert "The scores order" in str(inverted([wrong]))
