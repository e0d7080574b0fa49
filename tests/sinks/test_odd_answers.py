"""Values that no figure can be made of, and names that are hard to quote: the same report on every sink."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines import EACH_ENGINE, ENGINES
from histories import NOW
from msgspec import Raw
from test_answers import differences, plain

from joinback import wire
from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.report import report
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

ROWS = 60


def outlier(n: int, share: float) -> tuple[Any, Any]:
    """Return an output and a label: some are beyond what a double, or a sum of squares, can hold."""
    far = {7: -1e308, 8: 10**400, 9: 1e200, 10: -1.1e100}.get(n)
    near = {11: 10**30, 12: 2**64, 13: -(2**63) - 1, 14: 1e50, 15: 1e99}.get(n)
    return {"m": 1e308 if n in (5, 7) else share}, {"m": far or near or 9 * share}


def tiny(n: int, share: float) -> tuple[Any, Any]:
    """Return a score whose square is too small for a double."""
    return {"s": 1e-200 * share if n % 3 else share}, {"y": n % 2 == 0}


def beside(n: int, share: float) -> tuple[Any, Any]:
    """Return a label beside a huge number, which is of no concern to it."""
    return {"m": share}, {"m": n % 10 > 4, "other": 10**400}


def whole(n: int, share: float) -> tuple[Any, Any]:
    """Return whole numbers of more than 64 bits, beside such a number as a text; and one too near to 0 for a double."""
    return {"n": Raw(b"1e-400") if n == 5 else 2**70 * (1 + n)}, {"n": -(2**80) + 2**70 * n, "id": str(2**69)}


def quoted(n: int, share: float) -> tuple[Any, Any]:
    """Return names with quotes, of which two have the same, beside a plain one."""
    return {'say "hi"': share, "p": 1 - share}, {'say "hi"': n % 10 > 4, "y": True}


def escaped(n: int, share: float) -> tuple[Any, Any]:
    """Return names that JSON escapes, one of them within an object that is not always one."""
    within: Any = {"a\\b": share, "a/b~c": 1} if n % 9 else "none"
    return {'"in"': within}, {"new\nline\t": n % 10 > 4}


def unnamed(n: int, share: float) -> tuple[Any, Any]:
    return {"": share}, {"": n % 10 > 4}


def nul(n: int, share: float) -> tuple[Any, Any]:
    """Return texts that differ only behind a NUL, or in how they are escaped."""
    return {"m": "a\0b"}, {"m": ("a\0b", "a", "a\0c", "a\\u0000b", "\0b")[n % 5]}


APPLICATIONS = {
    "outlier": outlier,
    "tiny": tiny,
    "beside": beside,
    "whole": whole,
    "quoted": quoted,
    "escaped": escaped,
    "unnamed": unnamed,
    "nul": nul,
}
CHOICES = {
    "outlier": Choice(field="m", output="m"),
    "beside": Choice(field="m", output="m"),
    "whole": Choice(field="n", output="n"),
    "escaped": Choice(output='"in".a\\b'),
}


def records(application: str) -> Iterator[Record]:
    for n in range(ROWS):
        outputs, feedback = APPLICATIONS[application](n, (n % 10 + 0.5) / 10)
        at = NOW - timedelta(days=20, hours=n)
        values = {name: Raw(msgspec.json.encode(value)) for name, value in feedback.items()}
        said = Raw(msgspec.json.encode(outputs))
        prediction = wire.Prediction(v=1, at=at, logged_at=at, version="1", inputs=Raw(b"{}"), outputs=said)
        told = wire.Feedback(v=1, at=at + timedelta(hours=n), logged_at=at + timedelta(hours=n), feedback=values)
        yield Record(
            application=application,
            join_key=f"{n}",
            predictions={"p": prediction},
            feedback={"f": told} if n % 8 != 6 else {},
        )


def asked(url: str, applications: Sequence[str]) -> dict[str, Report]:
    """Return the report of each application, of a sink that is filled first."""

    async def fill() -> None:
        for application in applications:
            async with open_sink(url, Policy(now=NOW)) as sink:
                await sink.merge(list(records(application)))

    asyncio.run(fill())
    return {
        name: asyncio.run(
            report(
                Settings(sink_url=url),
                Wanted(application=name, now=NOW, age_d=3, choice=CHOICES.get(name, Choice())),
            )
        )
        for name in applications
    }


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    return asked(f"sqlite:///{tmp_path_factory.mktemp('odd')}/sink.db", list(APPLICATIONS))


@pytest.mark.parametrize("name", [one for one in EACH_ENGINE if one.values != ("sqlite",)])
def test_every_sink_says_the_same(name: str, on_sqlite: dict[str, Report], tmp_path: Path) -> None:
    """Each figure of each application is that of SQLite, to 1e-9, and none refuses the report."""
    with ENGINES[name].place(tmp_path) as url:
        found = asked(url, [one for one in APPLICATIONS if one != "nul" or ENGINES[name].holds_nul])
    for application in found:
        want, got = (plain(one[application]) for one in (on_sqlite, found))
        assert list(differences(want, got, application)) == []


def test_a_number_too_far_is_no_label(on_sqlite: dict[str, Report]) -> None:
    """Numbers beyond 1e100 are left out as texts are, and every figure is finite."""
    known = [n for n in range(ROWS) if n % 8 != 6 and all(abs(one["m"]) <= 1e100 for one in outlier(n, 0.5))]
    assert 0 < len(known) < sum(n % 8 != 6 for n in range(ROWS))
    assert sum(day.labels for day in on_sqlite["outlier"].days) == len(known)
    for told in on_sqlite.values():
        assert told.pair is not None
        assert all(map(math.isfinite, numbers(plain(told))))


def test_a_name_that_no_path_holds(on_sqlite: dict[str, Report]) -> None:
    """Fields and outputs with quotes, backslashes, control characters or no character at all have their figures."""
    for application in ("quoted", "escaped", "unnamed"):
        told = on_sqlite[application]
        assert told.pair is not None
        assert told.ripe is not None
        right = [n for n in range(ROWS) if n % 8 != 6 and (application != "escaped" or n % 9)]
        assert sum(day.labels for day in told.days) == len(right)
        assert (told.ripe.so_far, told.scores[0].auc) == (1.0, 1.0)
    assert on_sqlite["quoted"].pair.output == 'say "hi"'
    assert on_sqlite["escaped"].pair.path == ('"in"', "a\\b")


def test_a_text_goes_on_behind_a_nul(on_sqlite: dict[str, Report]) -> None:
    """Texts are compared whole: only those that are the same are right."""
    labels = [n for n in range(ROWS) if n % 8 != 6]
    assert sum(day.labels for day in on_sqlite["nul"].days) == len(labels)
    told = on_sqlite["nul"].ripe
    assert told is not None
    assert told.so_far == pytest.approx(sum(n % 5 == 0 for n in labels) / len(labels))


def numbers(told: Any) -> Iterator[float]:
    if isinstance(told, dict | list):
        for one in told.values() if isinstance(told, dict) else told:
            yield from numbers(one)
    elif isinstance(told, float):
        yield told
