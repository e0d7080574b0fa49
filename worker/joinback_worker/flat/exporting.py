"""An export: the rows of an application as they were known on a day, and what changed since another day.

Each record is cut to the events that were known at that moment. The law then makes a row of it, with that moment as the
clock. Rows wait in a temporary file until the types of their columns are known, so that memory holds only a batch.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from msgspec import Struct, field

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.config.rules_file import policy_of
from joinback_worker.law.joining import row_of
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

from .arrow import BATCH_ROWS, Shape, Spool
from .cells import kept
from .changes import Change, Difference, changes_of
from .columns import OF_EXPORTS, WEIGHT, columns_of
from .files import TableFile
from .known import age_s, known
from .survey import Survey
from .weights import Weights


class Job(Struct, frozen=True, kw_only=True):
    """What a person asks for."""

    url: str
    application: str
    as_of: datetime
    since: datetime | None = None
    """An earlier moment, to count what changed since."""
    format: str
    output: Path
    diff: Path | None = None
    """Where the changed labels go, one row each."""
    diff_format: str = "parquet"
    replace: bool = False
    weights: str | None = None
    """The feedback field whose labels get a weight; None: no weights."""


class Exported(Struct, kw_only=True):
    """What became of the records. Every record counts in `statuses`, `orphans` or `unknown`."""

    records: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    """Records with feedback and no prediction, which cannot train a model."""
    unknown: int = 0
    """Records of which no event was known yet."""
    events_later: int = 0
    """Events that were logged after the moment, and so left out."""
    misfits: dict[str, int] = {}
    """By field with a declared type: values of another type. Their cells are empty."""
    fields_left_out: int = 0
    columns: int = 0
    rules: str | None = None
    """The digest of the rules that were followed; None if none are declared."""
    difference: Difference | None = None
    weighted: int = 0
    """Labels that have a weight. `unweighted` counts those that have none."""
    unweighted: int = 0

    @property
    def rows(self) -> int:
        return self.statuses.total()


async def export(settings: Settings, job: Job, has_read: Callable[[int], None]) -> Exported:
    """Write what was known, and return what became of the records. `has_read` is called with the number read so far.

    Raises JoinbackError if the sink has no record of the application, if a file exists already, or if there is no room;
    and SinkUnavailable.
    """
    policy = policy_of(settings, job.application, job.as_of)
    declares = policy.rules != policy_of(settings, "", job.as_of).rules
    exported = Exported(
        rules=policy.rules.digest if declares else None,
        difference=None if job.since is None else Difference(),
    )
    try:
        with ExitStack() as stack:
            spool = stack.enter_context(Spool())
            output = stack.enter_context(TableFile(job.output, job.format, replace=job.replace))
            changed = None
            if job.diff is not None:
                changed = Changed(stack.enter_context(TableFile(job.diff, job.diff_format, replace=job.replace)))
            survey = Survey(policy.rules)
            work = _Work(job, policy, exported, survey, spool, changed)
            async with open_sink(job.url, policy, read_only=True) as sink:
                async for records in sink.whole_records(job.application):
                    for record in records:
                        work.take(record)
                    has_read(exported.records)
            if not exported.records:
                raise JoinbackError(
                    f"the sink holds no record of {job.application!r}: correct the name, or drain first"
                )
            if changed is not None:
                changed.end()
            _write(output, spool, survey, job, work.oldest_s, exported)
    except OSError as error:
        raise JoinbackError(f"the export cannot be written: {error.strerror}; make room, also in TMPDIR") from None
    return exported


def _write(output: TableFile, spool: Spool, survey: Survey, job: Job, oldest_s: float, exported: Exported) -> None:
    """Write the rows of the spool. The kinds of the fields are known now."""
    weights = None if job.weights is None else _weights(job.weights, spool, survey, job.as_of, oldest_s)
    shape = Shape(columns_of(survey.kinds), OF_EXPORTS if weights is None else (*OF_EXPORTS, WEIGHT))
    exported.columns, exported.misfits = len(shape.names), survey.misfits
    exported.fields_left_out = survey.left_out
    output.begin(shape.schema.with_metadata(_metadata(job)))
    for rows in spool.batches():
        output.write(shape.batch(rows if weights is None else list(weights.given(rows))))
    if weights is not None:
        exported.weighted, exported.unweighted = weights.rows, weights.unknown


def _weights(field: str, spool: Spool, survey: Survey, moment: datetime, oldest_s: float) -> Weights:
    """Return the weights of the labels of a field. Raises JoinbackError for a field that no row has."""
    known = sorted(str(one.key) for one in survey.kinds if one.place == "feedback")
    if field not in known:
        raise JoinbackError(
            f"--weights: no row has the feedback field {field!r}; known are {', '.join(known) or 'none'}"
        )
    weights = Weights(field, moment)
    weights.learn((row for rows in spool.batches() for row in rows), oldest_s)
    return weights


def _metadata(job: Job) -> dict[str, str]:
    """Return the metadata of the file, for formats that have metadata."""
    return {"joinback.application": job.application, "joinback.as_of": job.as_of.isoformat()}


class _Work:
    """The work on each record."""

    def __init__(
        self, job: Job, policy: Policy, exported: Exported, survey: Survey, spool: Spool, changed: "Changed | None"
    ) -> None:
        self._job, self._policy, self._exported = job, policy, exported
        self._before = Policy(policy.rules, job.since)
        self._survey, self._spool, self._changed = survey, spool, changed
        self.oldest_s = 0.0
        """Age of the oldest prediction at the moment."""

    def take(self, record: Record) -> None:
        exported, as_of = self._exported, self._job.as_of
        exported.records += 1
        then = known(record, as_of)
        exported.events_later += len(record.fields) - len(then.fields)
        if not then.has_events:
            exported.unknown += 1
            return
        row = row_of(then, self._policy)
        if row.status == "orphan":
            exported.orphans += 1
            return
        exported.statuses[row.status] += 1
        self._survey.add(row)
        age = age_s(row, as_of)
        self.oldest_s = max(self.oldest_s, age or 0.0)
        self._spool.add(kept(row, age))
        if exported.difference is not None and self._job.since is not None:
            earlier = known(record, self._job.since)
            before = row_of(earlier, self._before) if earlier.predictions else None
            changes = list(changes_of(before, row))
            exported.difference.count(before, changes)
            if self._changed is not None:
                self._changed.add(changes)


class Changed:
    """The changed labels as a table."""

    SCHEMA = pa.schema(
        [
            ("join_key", pa.string()),
            ("field", pa.string()),
            ("what", pa.string()),
            ("before", pa.string()),
            ("after", pa.string()),
            ("before_is_default", pa.bool_()),
            ("after_is_default", pa.bool_()),
            ("told_at", pa.timestamp("us", tz="UTC")),
        ]
    )

    def __init__(self, file: TableFile) -> None:
        self._file = file
        file.begin(self.SCHEMA)
        self._waiting: list[Change] = []

    def add(self, changes: list[Change]) -> None:
        self._waiting += changes
        if len(self._waiting) >= BATCH_ROWS:
            self.end()

    def end(self) -> None:
        """Write the changes that wait."""
        if self._waiting:
            columns = [list(self._column(name)) for name in self.SCHEMA.names]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self.SCHEMA, strict=True)]
            self._file.write(pa.RecordBatch.from_arrays(arrays, schema=self.SCHEMA))
            self._waiting.clear()

    def _column(self, name: str) -> Iterator[object]:
        for change in self._waiting:
            value = getattr(change, name)
            yield value.decode() if isinstance(value, bytes) else value
