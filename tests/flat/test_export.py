"""`joinback export`: what was known on a day, as the model has it, and what changed since another."""

import asyncio
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import model
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Cli, Stack
from engines import EACH_ENGINE, ENGINES, Engine, named
from events import NOON, RULES, at, feedback, prediction, record, records, retraction
from flat_rows import mixed_bag, put
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import structs
from ruled import file

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.flat.exporting import Exported, Job, export
from joinback_worker.law.record import Record

TYPES = {"bool": bool, "int": int, "str": str}


def exported(
    url: str, output: Path, moment: datetime, settings: Settings | None = None, /, **options: Any
) -> tuple[Exported, list[dict[str, Any]]]:
    """Export as Arrow, and read it back."""
    job = Job(
        url=url,
        application="loans",
        as_of=moment,
        format="arrow",
        output=output,
        replace=True,
        diff_format="arrow",
        **options,
    )
    told = asyncio.run(export(settings or Settings(), job, lambda _: None))
    return told, table_of(output)


def table_of(path: Path) -> list[dict[str, Any]]:
    with pa.ipc.open_file(path) as reader:
        return list(reader.read_all().to_pylist())


def label(value: Any, kind: str) -> Any:
    """What the model says of a field, as a column of a declared type has it."""
    fits = isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
    return value if fits else None


def known(record: Record, moment: datetime) -> dict[str, Any]:
    """The model's events that were told up to this moment."""
    return {name: event for name, event in model.events_of(record).items() if event["logged_at"] <= moment}


@pytest.mark.parametrize("name", [*named("sqlite", "postgresql", "clickhouse", "parquet", "delta")])
def test_as_the_model_has_it(name: str, tmp_path: Path) -> None:
    """For any histories, rules and day, an export is what the model makes of the events that were told by then, and the
    changes since another day are the differences of its two answers.
    """
    engine = ENGINES[name]
    numbers = iter(range(10_000))

    @hypothesis_settings(max_examples=40 if name == "sqlite" else 10)
    @given(
        st.lists(records.filter(lambda record: record.has_events), min_size=1, max_size=4),
        st.integers(-1_100, 1_100),
        st.integers(1, 900),
        st.sampled_from(RULES),
    )
    def check(found: list[Record], second: int, before_s: int, tables: Mapping[str, Any]) -> None:
        for number, one in enumerate(found):
            one.join_key = f"k{number}"
        moment, since = at(second), at(second - before_s)
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        settings = Settings(config=file(folder, loans=tables))
        with engine.place(folder) as url:
            put(url, found)
            told, rows = exported(url, folder / "now", moment, settings, since=since, diff=folder / "diff")
        then = {one.join_key: known(one, moment) for one in found}
        want = {key: model.row(events, rules=tables, now=moment) for key, events in then.items() if events}
        trained = {key: row for key, row in want.items() if row["status"] != "orphan"}
        assert [row["join_key"] for row in rows] == sorted(trained)
        assert (told.records, told.rows, told.unknown) == (len(found), len(trained), len(found) - len(want))
        assert told.orphans == len(want) - len(trained)
        assert told.events_later == sum(len(model.events_of(r)) - len(then[r.join_key]) for r in found)
        for row in rows:
            check_row(row, trained[row["join_key"]], tables)
        before = {key: trained_before(one, since, tables) for one in found if (key := one.join_key) in trained}
        assert changes(table_of(folder / "diff")) == differences(before, trained)
        assert told.difference is not None
        assert told.difference.total == len(differences(before, trained))
        assert told.difference.rows_added == sum(row is None for row in before.values())

    check()


def check_row(row: Mapping[str, Any], want: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
    assert (row["status"], row["label_age_s"]) == (want["status"], want["feedback_delay_s"])
    assert row["is_labelled"] is (want["status"] == "joined")
    for name in "abc":
        # An input may have the name, too.
        column = next((c for c in (name, f"fb_{name}") if f"{c}_is_default" in row), None)
        value = (want["feedback"] or {}).get(name)
        if column is None:
            assert value is None, name
            continue
        rules = tables.get("feedback", {}).get(name, {})
        kind = "int" if rules.get("reducer") == "count" else rules.get("type")
        got = row[column]
        assert (got == label(value, kind)) if kind else any(value == read for read in readings(got)), name
        assert row[f"{column}_is_default"] is (name in (want["default_fields"] or ()))
        first = (want["field_times"] or {}).get(name, {}).get("first")
        assert row[f"{column}_at"] == (datetime.fromisoformat(first) if first else None)


def readings(cell: Any) -> list[Any]:
    """A cell of a column whose kind nobody declared: itself, or the JSON that its text is."""
    try:
        return [cell, json.loads(cell)]
    except (TypeError, ValueError):
        return [cell]


def trained_before(one: Record, since: datetime, tables: Mapping[str, Any]) -> Any:
    row = model.row(known(one, since), rules=tables, now=since)
    return None if row["status"] == "orphan" else row


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    found = set()
    for key, row in after.items():
        old, new = ((r or {}).get("feedback") or {} for r in (before[key], row))
        for name in old.keys() | new.keys():
            if name not in old or name not in new:
                found.add((key, name, "withdrawn" if name in old else "new"))
            elif json.dumps(old[name]) != json.dumps(new[name]):
                found.add((key, name, "changed"))
    return found


def changes(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    return {(row["join_key"], row["field"], row["what"]) for row in rows}


@pytest.fixture(params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def test_the_same_bytes_from_every_sink(engine: Engine, url: str, tmp_path: Path) -> None:
    """From any sink the same records give the same file, byte by byte, in each format."""
    put(url, mixed_bag())
    put(url, [structs.replace(record({"prediction:p": prediction(0)}, "foreign"), application="another")])
    reference = f"sqlite:///{tmp_path}/reference.db"
    put(reference, mixed_bag())
    for format_ in ("csv", "parquet", "arrow"):
        files = []
        for number, source in enumerate((url, reference)):
            path = tmp_path / f"{number}.{format_}"
            job = Job(url=source, application="loans", as_of=at(150), format=format_, output=path)
            told = asyncio.run(export(Settings(), job, lambda _: None))
            assert (told.rows, told.orphans, told.events_later) == (10, 1, 4)
            files.append(path.read_bytes())
        assert files[0] == files[1], format_


def life() -> list[Record]:
    """A label that was told late of long ago, one that was corrected, one that was withdrawn, one that stays."""
    day = 86_400
    late = json.loads(feedback(1 * day, repaid=True)) | {"logged_at": at(20 * day).isoformat()}
    return [
        record({"prediction:p": prediction(0), "feedback:f": json.dumps(late).encode()}, "late"),
        record(
            {"prediction:p": prediction(0), "feedback:f": feedback(day, repaid=True),
             "feedback:g": feedback(15 * day, repaid=False)}, "corrected",
        ),
        record(
            {"prediction:p": prediction(0), "feedback:f": feedback(day, repaid=True),
             "retraction:r": retraction(16 * day)}, "withdrawn",
        ),
        record({"prediction:p": prediction(0), "feedback:f": feedback(day, repaid=True)}, "stays"),
        record({"prediction:p": prediction(12 * day)}, "new"),
    ]  # fmt: skip


def test_event_time_is_not_told_time(tmp_path: Path) -> None:
    """A label of long ago that was told late is not known before it was told, whatever its own time; corrections and
    retractions that came later change nothing of what was known before.
    """
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, life())
    _, then = exported(url, tmp_path / "then", at(10 * 86_400))
    assert {row["join_key"]: row["repaid"] for row in then} == {
        "late": None, "corrected": True, "withdrawn": True, "stays": True,
    }  # fmt: skip
    told, now = exported(url, tmp_path / "now", at(30 * 86_400), since=at(10 * 86_400))
    assert {row["join_key"]: row["repaid"] for row in now} == {
        "late": True, "corrected": False, "withdrawn": None, "stays": True, "new": None,
    }  # fmt: skip
    assert {row["join_key"]: row["age_s"] for row in now}["new"] == 18 * 86_400
    assert told.difference is not None
    assert told.difference.labels == {"repaid": {"new": 1, "changed": 1, "withdrawn": 1}}
    assert (told.difference.rows_added, told.difference.rows_changed) == (1, 3)


def test_the_clock_is_the_days(tmp_path: Path) -> None:
    """What matured between two days has its default on the second one alone, and is told as new."""
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, [record({"prediction:p": prediction(0)})])
    settings = Settings(config=file(tmp_path, loans={"feedback": {"paid": {"default": False, "maturity_s": 100}}}))
    diff = tmp_path / "diff"
    told, rows = exported(url, tmp_path / "x", at(200), settings, since=at(50), diff=diff)
    assert [(row["status"], row["paid"], row["paid_is_default"]) for row in rows] == [("unlabelled", False, True)]
    assert told.difference is not None
    assert told.difference.labels == {"paid": {"new": 1}}
    (change,) = table_of(diff)
    assert (change["before"], change["after"], change["after_is_default"]) == (None, "false", True)
    assert [row["paid"] for row in exported(url, tmp_path / "x", at(50), settings)[1]] == [None]


def test_age_by_the_clients_clock(tmp_path: Path) -> None:
    """A prediction whose own time is in the future is as old as its client's clock has it."""
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, [record({"prediction:p": prediction(10_000, logged_at=at(0))})])
    assert [row["age_s"] for row in exported(url, tmp_path / "x", at(100))[1]] == [100.0]


def test_a_retraction_that_was_not_told_yet(tmp_path: Path) -> None:
    """Whose time is long ago and which was told late: until then what it takes back stands."""
    url = f"sqlite:///{tmp_path}/sink.db"
    late = json.dumps(json.loads(retraction(100)) | {"logged_at": at(500).isoformat()}).encode()
    fields = {"prediction:p": prediction(0), "feedback:f": feedback(60, paid=1), "retraction:r": late}
    put(url, [record(fields)])
    assert [row["paid"] for row in exported(url, tmp_path / "x", at(499))[1]] == [1]
    assert [row["status"] for row in exported(url, tmp_path / "x", at(500))[1]] == ["predicted"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    """What stands at the output stays, unless --force; and a failed export leaves nothing behind."""
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, life())
    output = tmp_path / "loans.csv"
    output.write_text("mine")
    job = Job(url=url, application="loans", as_of=NOON, format="csv", output=output)
    with pytest.raises(JoinbackError, match="--force"):
        # Before the sink is read.
        asyncio.run(export(Settings(), job, lambda _: pytest.fail("it was read")))
    assert output.read_text() == "mine"
    with pytest.raises(JoinbackError, match="holds no record of 'lones'"):
        asyncio.run(export(Settings(), structs.replace(job, application="lones", replace=True), lambda _: None))
    assert output.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loans.csv", "sink.db"]
    asyncio.run(export(Settings(), structs.replace(job, replace=True), lambda _: None))
    assert output.read_text().startswith('"join_key","predicted_at"')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loans.csv", "sink.db"]
    with pytest.raises(JoinbackError, match="cannot be written"):
        asyncio.run(export(Settings(), structs.replace(job, output=tmp_path / "no" / "x.csv"), lambda _: None))


def test_a_file_that_appears_meanwhile(tmp_path: Path) -> None:
    """Somebody else's file that came while the export ran is not replaced."""
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, life())
    output = tmp_path / "loans.csv"
    job = Job(url=url, application="loans", as_of=NOON, format="csv", output=output)
    with pytest.raises(JoinbackError, match="exists already"):
        asyncio.run(export(Settings(), job, lambda _: output.write_text("theirs")))
    assert output.read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loans.csv", "sink.db"]


def test_the_command(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """`joinback export` writes the file it names, tells its counts and what changed; refuses what it cannot mean."""
    for n in range(3):
        stack.client.log_record("loans", inputs={"amount": n}, outputs={"default": 0.5}, join_key=f"loan_{n}")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_0")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="lost")
    stack.drain()
    done = cli("export", "loans", "--output", "loans.csv", "--since-as-of", "2026-01-01", "--diff", "diff.csv")
    assert done.returncode == 0, done.stderr
    assert "3 rows, 14 columns, in loans.csv" in done.stdout
    assert "1  labelled" in done.stdout
    assert "2  predicted" in done.stdout
    assert "1 orphans, 0 events that were logged later" in done.stdout
    assert "1 labels changed since 2026-01-01T00:00:00.000000Z: in 0 rows that existed then, and" in done.stdout
    assert "and in 3 new rows, in diff.csv" in done.stdout
    assert "  repaid: 1 new, 0 changed, 0 withdrawn" in done.stdout
    with (tmp_path / "loans.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["join_key"], row["amount"], row["repaid"]) for row in rows] == [
        ("loan_0", "0", "true"), ("loan_1", "1", ""), ("loan_2", "2", ""),
    ]  # fmt: skip
    with (tmp_path / "diff.csv").open() as lines:
        assert [(row["join_key"], row["after"]) for row in csv.DictReader(lines)] == [("loan_0", "true")]
    told = json.loads(cli("export", "loans", "--output", "x.parquet", "--json").stdout)
    assert told["statuses"] == {"joined": 1, "unlabelled": 0, "predicted": 2}
    assert pq.read_schema(tmp_path / "x.parquet").metadata[b"joinback.application"] == b"loans"
    day = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    for wrong, why in {
        ("--as-of", day): "is in the future",
        ("--as-of", "monday"): "is not a time; write 2026-10-01",
        ("--since-as-of", "2026-10-01", "--as-of", "2026-10-01"): "must be before",
        ("--diff", "x.csv"): "needs --since-as-of",
        ("--output", "x.csv.gz"): "x.csv.gz: .gz is none of parquet, csv, arrow; rename the file, or give --format",
    }.items():
        done = cli("export", "loans", *wrong)
        assert done.returncode == 2
        assert why in done.stderr
    early = cli("export", "loans", "--as-of", "2026-01-01")
    assert early.returncode == 0
    assert "loans as known on 2026-01-01T00:00:00.000000Z" in early.stdout
    assert pq.read_table(tmp_path / "loans-2026-01-01.parquet").num_rows == 0


@pytest.mark.parametrize("given", [(), ("--format", "arrow")])
def test_each_file_has_its_own_format(given: tuple[str, ...], cli: Cli, tmp_path: Path) -> None:
    """The suffix of a file says its format, for the rows and for the changes alike; --format overrides both."""
    url = f"sqlite:///{tmp_path}/sink.db"
    put(url, life())
    beginnings = {"csv": b'"join_key"', "CSV": b'"join_key"', "parquet": b"PAR1", "arrow": b"ARROW1", "": b"PAR1"}
    for output, diff in (("csv", "parquet"), ("parquet", "CSV"), ("arrow", "csv"), ("csv", "")):
        files = [Path(f"rows.{output}"), Path(f"diff.{diff}".rstrip("."))]
        names = ["--output", str(files[0]), "--diff", str(files[1])]
        done = cli("export", "loans", url, "--since-as-of", "2026-01-01", *names, "--force", *given)
        assert done.returncode == 0, done.stderr
        for path, suffix in zip(files, (output, diff), strict=True):
            assert (tmp_path / path).read_bytes().startswith(b"ARROW1" if given else beginnings[suffix]), path
