"""The answers are the same numbers on every sink, whatever its engine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines import EACH_ENGINE, ENGINES
from histories import NOW, RULES, histories, scored
from made_up_records import record_of
from ruled import file

from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.report import report
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.config.rules_file import config_of
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

APPLICATIONS = ("loans", "ads", "topics", "prices", "scored")
CHOICES = {"prices": Choice(field="price", output="price")}


def asked(settings: Settings) -> dict[str, Report]:
    """Return the report of each application."""
    return {
        name: asyncio.run(report(settings, Wanted(application=name, now=NOW, choice=CHOICES.get(name, Choice()))))
        for name in APPLICATIONS
    }


def filled(url: str, folder: Path) -> Settings:
    """Return the settings of a sink that holds the histories."""
    settings = Settings(sink_url=url, config=file(folder, **RULES))

    async def fill() -> None:
        for name in APPLICATIONS:
            async with open_sink(url, Policy(config_of(settings).rules_of(name), NOW)) as sink:
                await sink.merge([record for record in histories() if record.application == name])
                await sink.close_matured(name)

    asyncio.run(fill())
    return settings


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Report]]:
    folder = tmp_path_factory.mktemp("answers")
    with ENGINES["sqlite"].place(folder) as url:
        yield asked(filled(url, folder))


@pytest.mark.parametrize("name", [one for one in EACH_ENGINE if one.values != ("sqlite",)])
def test_every_sink_says_the_same(name: str, on_sqlite: dict[str, Report], tmp_path: Path) -> None:
    """Each figure of each application is that of SQLite, to 1e-9."""
    with ENGINES[name].place(tmp_path) as url:
        found = asked(filled(url, tmp_path))
    for application in APPLICATIONS:
        want, got = (plain(one[application]) for one in (on_sqlite, found))
        assert list(differences(want, got, application)) == []


def plain(told: Report) -> Any:
    """As JSON; without the states, which a view reckons by the clock of the day."""
    found = msgspec.to_builtins(told)
    del found["statuses"]
    return found


def differences(want: Any, got: Any, where: str) -> Iterator[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        assert want.keys() == got.keys(), where
        for name in want:
            yield from differences(want[name], got[name], f"{where}.{name}")
    elif isinstance(want, list) and isinstance(got, list):
        if len(want) != len(got):
            yield f"{where}: {len(want)} and {len(got)}"
        for number, (a, b) in enumerate(zip(want, got, strict=False)):
            yield from differences(a, b, f"{where}[{number}]")
    elif isinstance(want, float) and isinstance(got, int | float):
        if abs(want - got) > 1e-9 * max(1.0, abs(want)):
            yield f"{where}: {want} and {got}"
    elif want != got:
        yield f"{where}: {want!r} and {got!r}"


def test_an_output_within_another(tmp_path: Path) -> None:
    """What stands under `scores` is compared by its path: its figures are those of the same number at the top."""
    url = f"sqlite:///{tmp_path}/sink.db"
    loans = list(made_up_loans(400, NOW, seed=1, days=40))

    async def fill() -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([*(record_of(loan, NOW, "flat") for loan in loans), *scored()])

    asyncio.run(fill())
    found = {}
    for name, output in (("flat", "default"), ("scored", "scores.default")):
        choice = Choice(output=output, positive=False)
        told = asyncio.run(report(Settings(sink_url=url), Wanted(application=name, now=NOW, choice=choice)))
        assert told.pair is not None
        assert told.pair.path == tuple(output.split("."))
        found[name] = plain(told) | {"application": None, "pair": None, "outputs": None, "to_keep": None}
    assert found["flat"] == found["scored"]
    assert found["flat"]["scores"][0]["auc"] is not None


def test_there_is_something_to_compare(on_sqlite: dict[str, Report]) -> None:
    """Every kind of comparison, and every part of a report, is among what the engines are held to."""
    assert {told.pair.kind for told in on_sqlite.values() if told.pair} == {"score", "classes", "numbers"}
    for application, told in on_sqlite.items():
        assert told.pair is not None, application
        assert any(curve.points for curve in told.curves), application
        assert {day.ripe for day in told.days} == {True, False}, application
        assert any(cell and cell.share and cell.value for week in told.triangle.weeks for cell in week.cells), (
            application
        )
    assert any(day.estimate not in (None, day.so_far) for day in on_sqlite["loans"].days)
    assert on_sqlite["ads"].scores[0].auc is not None
    assert on_sqlite["prices"].comparison is not None
    assert set(on_sqlite["prices"].quantiles) == {"p10", "p90"}
