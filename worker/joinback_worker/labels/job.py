"""One import, from what was asked for to its report."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct, structs
from redis.asyncio import Redis

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.notes.layouts import Layout, applications, layouts

from .importing import Importing, Listener
from .lines import Source
from .lookup import looking_up
from .plan import Plan, Roles
from .report import Report, ReportFile
from .ruling import ruling_of
from .settled import Told
from .sources import Reading, open_file, open_query
from .teller import Teller


class Job(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    application: str
    place: str
    """A file; with a query a URL, or the variable that holds it, so that no list of processes shows its password."""
    query: str | None = None
    reading: Reading
    roles: Roles
    told: Told
    told_by: str | None = None
    """Who tells the labels, for fields whose rules rank sources."""
    orphans: bool = False
    """Write labels that match no prediction, too."""
    dry_run: bool = False


class Watcher(Listener, Protocol):
    """Who is told all that happens before it begins, too."""

    def looked_at(self, rows: int) -> None:
        """The survey has seen so many rows."""

    def settles(self, source: str, columns: Mapping[str, str], doubts: Sequence[str]) -> None:
        """What each column is, and what a person should look at. Nothing has been written yet."""

    def begins(self, rows: int) -> None:
        """So many rows will be looked up."""


async def run(settings: Settings, job: Job, file: ReportFile, watcher: Watcher, redis: Redis) -> Report:
    """Survey, say what it is, look up, write. Raises JoinbackError, and what Redis raises when it does not answer."""
    ruling = ruling_of(settings, job.application)
    known = await layouts(redis)
    published = (await applications(redis)).get(job.application, wire.Application())
    with closing(_opened(job)) as source:
        told = structs.replace(job.told, declared=ruling.types(job.roles), declared_in=ruling.declared_in)
        plan = Plan(job.application, job.roles, source, told, job.told_by)
        rows = 0
        for count in plan.survey(source.batches(plan.wanted), datetime.now(UTC)):
            rows += count
            watcher.looked_at(rows)
        watcher.settles(source.name, plan.says(), [*source.doubts(), *ruling.doubts(job.roles, job.told_by)])
        async with looking_up(redis, settings, job.application, known.get(job.application, Layout())) as lookup:
            importing = Importing(
                job.application,
                published.sample_rate or wire.UNSAMPLED,
                plan,
                lookup,
                file,
                ruling=ruling,
                orphans=job.orphans,
            )
            watcher.begins(rows)
            if job.dry_run:
                return await importing.run(source, None, watcher)
            with closing(Teller(settings, redis, job.application, source.name, job.told_by)) as teller:
                return await importing.run(source, teller, watcher)


def _opened(job: Job) -> Source:
    if job.query is None:
        return open_file(Path(job.place), job.reading)
    url = job.place if ":" in job.place else os.environ.get(job.place, "")
    if not url:
        raise ConfigurationError(
            f"with --sql, SOURCE is an SQLAlchemy URL or the variable that holds it; {job.place} is not set"
        )
    return open_query(url, job.query)
