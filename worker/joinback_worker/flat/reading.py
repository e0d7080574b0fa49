"""The worker's half of `joinback.read`: the rows of an application as typed columns in Arrow, pandas or polars."""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import settings_from
from joinback_worker.config.rules_file import policy_of
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

from .arrow import Shape, Spool
from .cells import kept
from .columns import columns_of
from .moments import moment_of
from .survey import Survey

T = TypeVar("T")

STATUSES = ("predicted", "joined", "unlabelled", "orphan")
AS = ("arrow", "pandas", "polars")


def read(
    url: str | None,
    application: str,
    *,
    since: datetime | str | None,
    until: datetime | str | None,
    columns: Sequence[str] | None,
    status: str | Collection[str] | None,
    as_: str,
) -> Any:
    """Return what `joinback.read` returns. See there."""
    if as_ not in AS:
        raise ConfigurationError(f"joinback.read: as_ must be one of {', '.join(AS)}, not {as_!r}")
    statuses = STATUSES if status is None else (status,) if isinstance(status, str) else tuple(status)
    for name in statuses:
        if name not in STATUSES:
            raise ConfigurationError(f"joinback.read: status must be one of {', '.join(STATUSES)}, not {name!r}")
    if isinstance(columns, str):
        raise ConfigurationError("joinback.read: columns must be a list of names, not a text")
    bounds = (
        None if since is None else moment_of(since, "since"),
        None if until is None else moment_of(until, "until"),
    )
    settings = settings_from()
    policy = policy_of(settings, application, datetime.now(UTC))
    url = settings.sink_url if url is None else url
    with Spool() as spool:
        survey = Survey(policy.rules)
        _run(_fill(spool, survey, url, application, policy, bounds, frozenset(statuses)))
        typed = columns_of(survey.kinds)
        if columns is not None and (unknown := [name for name in columns if name not in Shape(typed).names]):
            raise ConfigurationError(
                f"joinback.read: {application!r} has no column {unknown[0]!r}; it has {', '.join(Shape(typed).names)}"
            )
        shape = Shape(typed, only=columns)
        table = pa.Table.from_batches(map(shape.batch, spool.batches()), shape.schema)
    return _converted(table, as_)


async def _fill(
    spool: Spool,
    survey: Survey,
    url: str,
    application: str,
    policy: Policy,
    bounds: tuple[datetime | None, datetime | None],
    statuses: frozenset[str],
) -> None:
    async with open_sink(url, policy, read_only=True) as sink:
        async for rows in sink.rows(application):
            for row in rows:
                # Survey all rows, so that the columns do not depend on which rows are wanted.
                survey.add(row)
                if row.status in statuses and _is_within(row, *bounds):
                    spool.add(kept(row))


def _is_within(row: Row, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    at = row.predicted_at
    return at is not None and (since is None or at >= since) and (until is None or at < until)


def _converted(table: pa.Table, as_: str) -> Any:
    try:
        if as_ == "pandas":
            return table.to_pandas()
        if as_ == "polars":
            import polars

            return polars.from_arrow(table)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"joinback.read(as_={as_!r}) needs {error.name}; install it") from None
    return table


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns. It runs in a thread, since a notebook has an event loop of its own."""
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, work).result()
    except OSError as error:
        raise JoinbackError(f"joinback.read: {error.strerror or type(error).__name__}; make room in TMPDIR") from None
