"""`joinback export --weights`: labels that come late count for those of their value that are still to come."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Stack
from made_up_records import record_of

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.answers.estimate import LABELS_MIN
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.flat.exporting import Exported, Job, export
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('weights')}/loans.db"

    async def fill() -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, NOW) for loan in made_up_loans(24_000, NOW)])

    asyncio.run(fill())
    return url


def exported(url: str, folder: Path, field: str = "repaid", moment: datetime = NOW) -> tuple[Exported, pa.Table]:
    job = Job(url=url, application="loans", as_of=moment, format="arrow", output=folder / "loans.arrow", weights=field)
    told = asyncio.run(export(Settings(), job, lambda _: None))
    with pa.ipc.open_file(job.output) as reader:
        return told, reader.read_all()


def test_classes_get_their_shares_back(url: str, tmp_path: Path) -> None:
    """Among the young labels bad news is rare, as it comes later; by weight it has the share that it has among all."""
    told, table = exported(url, tmp_path)
    truth = {loan.key: loan.repaid for loan in made_up_loans(24_000, NOW)}
    young = [row for row in table.to_pylist() if 4 * 86_400 < row["age_s"] < 20 * 86_400]
    labelled = [row for row in young if row["is_labelled"]]
    of_all = sum(truth[row["join_key"]] for row in young) / len(young)
    plain = sum(row["repaid"] for row in labelled) / len(labelled)
    weighted = [row for row in labelled if row["label_weight"] is not None]
    by_weight = sum(row["repaid"] * row["label_weight"] for row in weighted) / sum(
        row["label_weight"] for row in weighted
    )
    assert plain - of_all > 0.1
    # Labels that take longer than 45 days are not among those that tell the delays.
    assert abs(by_weight - of_all) < 0.25 * (plain - of_all)
    assert told.weighted + told.unweighted == sum(row["is_labelled"] for row in table.to_pylist())


def test_who_has_no_label_has_no_weight(url: str, tmp_path: Path) -> None:
    """A weight is at least 1 and at most 10, of labels alone; that of an old one is 1."""
    _, table = exported(url, tmp_path)
    for row in table.to_pylist():
        weight = row["label_weight"]
        if not row["is_labelled"]:
            assert weight is None
        elif weight is not None:
            assert 1 <= weight <= 10
        if row["is_labelled"] and row["age_s"] > 46 * 86_400:
            assert weight == 1


def test_too_few_to_tell(url: str, tmp_path: Path) -> None:
    """A value of which fewer labels are old enough than delays can be told from has no weight, and that is counted."""
    day = datetime(2026, 10, 1, tzinfo=UTC)
    told, table = exported(url, tmp_path, moment=day)
    weights = {(row["repaid"], row["label_weight"] is None) for row in table.to_pylist() if row["is_labelled"]}
    assert (False, True) in weights
    assert (False, False) not in weights
    late = [row for row in table.to_pylist() if row["repaid"] is False and row["age_s"] > 86_400]
    assert len(late) < 3 * LABELS_MIN
    assert told.unweighted > 0


def test_a_field_that_nobody_told(url: str, tmp_path: Path) -> None:
    """A name that is none is told with those that are, and no file is left."""
    with pytest.raises(JoinbackError, match="no row has the feedback field 'repayed'; known are repaid"):
        exported(url, tmp_path, "repayed")
    assert not list(tmp_path.iterdir())


def test_the_command_says_it(stack: Stack, cli: object, tmp_path: Path) -> None:
    """The option adds the column, and the summary says how many labels have a weight."""
    url = stack.settings.sink_url

    async def fill() -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, NOW) for loan in made_up_loans(3_000, NOW)])

    asyncio.run(fill())
    output = tmp_path / "loans.csv"
    done = cli("export", "loans", "--as-of", "2026-11-28", "--weights", "repaid", "--output", str(output))  # type: ignore[operator]
    assert (done.returncode, done.stderr) == (0, "")
    assert "label_weight of repaid: " in done.stdout
    assert '"label_weight"' in output.read_text().partition("\n")[0].split(",")
