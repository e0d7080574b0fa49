"""One import, from the request to the report."""

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
from .label_sender import LabelSender
from .lines import Source
from .lookup import looking_up
from .plan import Plan, Roles
from .report import Report, ReportFile
from .ruling import ruling_of
from .settled import Given
from .sources import Reading, open_file, open_query


class Job(Struct, frozen=True, kw_only=True):
    """What an import is asked to do."""

    application: str
    place: str
    """A file. With a query: a URL, or the name of the variable that holds it, so that `ps` shows no password."""
    query: str | None = None
    reading: Reading
    roles: Roles
    given: Given
    feedback_source: str | None = None
    """Who the labels come from, for fields whose rules rank sources."""
    orphans: bool = False
    """Whether to write labels too that match no prediction."""
    dry_run: bool = False


class Watcher(Listener, Protocol):
    """What shows the progress to a person, from the survey on."""

    def looked_at(self, rows: int) -> None:
        """Show that the survey has seen this many rows."""

    def settles(self, source: str, columns: Mapping[str, str], doubts: Sequence[str]) -> None:
        """Show column -> what it is, and what a person should look at. Nothing is written yet."""

    def begins(self, rows: int) -> None:
        """Show that the second reading begins, of this many rows."""


async def run(settings: Settings, job: Job, file: ReportFile, watcher: Watcher, redis: Redis) -> Report:
    """Survey the source, show what its columns are, look up each label and write it. Return the report.

    Raises JoinbackError, and what Redis raises when it does not answer.
    """
    ruling = ruling_of(settings, job.application)
    known = await layouts(redis)
    published = (await applications(redis)).get(job.application, wire.Application())
    with closing(_opened(job)) as source:
        given = structs.replace(job.given, declared=ruling.types(job.roles), declared_in=ruling.declared_in)
        plan = Plan(job.application, job.roles, source, given, job.feedback_source)
        rows = 0
        for count in plan.survey(source.batches(plan.wanted), datetime.now(UTC)):
            rows += count
            watcher.looked_at(rows)
        doubts = [*source.doubts(), *ruling.doubts(job.roles, job.feedback_source)]
        watcher.settles(source.name, plan.descriptions(), doubts)
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
            with closing(LabelSender(settings, redis, job.application, source.name, job.feedback_source)) as sender:
                return await importing.run(source, sender, watcher)


def _opened(job: Job) -> Source:
    if job.query is None:
        return open_file(Path(job.place), job.reading)
    url = job.place if ":" in job.place else os.environ.get(job.place, "")
    if not url:
        raise ConfigurationError(
            f"with --sql, SOURCE is an SQLAlchemy URL or the variable that holds it; {job.place} is not set"
        )
    return open_query(url, job.query)
