"""The ClickHouse sink: it appends events, and the view `records` folds them.

The driver clickhouse-connect reaches a server over HTTP (`clickhouse://`, `clickhouses://` for TLS), or the engine
chDB, which comes as a wheel and runs in this process (`chdb:///directory`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, starmap
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged, Refolded, Sink, Standing
from .clickhouse_errors import translated
from .clickhouse_policy import declared, policy_from
from .clickhouse_queries import (
    DELETED_WHEN_ANSWERED,
    NEWEST,
    PAGE,
    POLICY_TIME,
    STORED_WHEN_ANSWERED,
    deletion,
    in_parts,
    look_up,
)
from .clickhouse_schema import COLUMN_TYPES, GRANTS, MIGRATIONS, MIGRATIONS_TABLE, RECORDS_COPY, check_columns, migrate
from .clickhouse_url import connection_of
from .clickhouse_url import place as place
from .event_columns import EventColumns
from .event_log import COLUMNS, HEADER, Header, Stored, microseconds, whole_records
from .merge_on_read import MergeOnRead
from .on_thread import SAMPLE_BATCH, SAMPLE_ROWS

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """Return the sink of `clickhouse://user:password@host:8123/database`, `clickhouses://…` or `chdb:///directory`."""
    return ClickHouseSink(*connection_of(url), policy)


def schema(url: str, settings: Settings) -> str:
    """Return all migrations, then the grants of the worker and of readers, then a copy for dashboards as a comment."""
    open_url(url, Policy())  # a wrong URL raises ConfigurationError
    statements = [statement.strip() for statements in MIGRATIONS for statement in statements]
    record = f"INSERT INTO joinback_migrations SELECT {len(MIGRATIONS)}, now64(6)"
    made = ";\n\n".join([MIGRATIONS_TABLE.strip(), *statements, record, *GRANTS]) + ";"
    copy = "\n".join(f"-- {line}" for line in f"{RECORDS_COPY.strip()};".splitlines())
    return f"{made}\n\n-- If dashboards read it often: a copy that ClickHouse folds again every five minutes.\n{copy}"


class ClickHouseSink(MergeOnRead):
    """A batch is one INSERT of one block into an unpartitioned table: all or nothing."""

    def __init__(self, connect: Callable[[], Client], name: str, directory: Path | None, policy: Policy) -> None:
        super().__init__(policy)
        self._directory = directory
        self._connect = connect
        self._name = name
        self._client: Client | None = None
        self._published: set[str] = set()
        """Applications whose policy this sink has written, or found in the table."""

    def _translated(self, work: Callable[[], T]) -> T:
        return translated(self._name, work)

    def _open(self) -> None:
        if self.read_only and self._directory is not None and not self._directory.is_dir():
            raise SinkMissing(f"the sink {self._directory} does not exist yet")
        client = self._client_of_engine()
        try:
            if not self.read_only:
                migrate(client, self._name, self.migrates)
            elif not client.command("EXISTS TABLE events"):
                raise SinkMissing(f"{self._name} has no table `events` yet")
            check_columns(client, self._name)
        except BaseException:
            client.close()
            raise
        self._client = client

    def _client_of_engine(self) -> Client:
        try:
            return self._connect()
        except Error as error:
            if self._directory is None or error.code is not None:
                raise
            # The engine writes the reason to stderr alone. One process holds the directory until it ends.
            raise SinkUnavailable(
                f"{self._name}: cannot be opened; only one process at a time can use it, and another one may"
            ) from error

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _merge(self, records: Sequence[Any]) -> Merged:
        for application in {record.application for record in records}:
            self._publish_policy(application)
        return super()._merge(records)

    def _close_matured(self, application: str) -> None:
        """Write the policy. The view reads the time from it, and closes the rows."""
        self._publish_policy(application)

    def _append(self, events: EventColumns) -> None:
        # As numbers: the driver would ask each datetime for its zone.
        times = {name: list(map(microseconds, getattr(events, name))) for name in ("event_at", "logged_at")}
        times["ordered_at_us"] = events.ordered_at_us if events.is_ahead else times["event_at"]
        times["written_at"] = [microseconds(events.written_at[0])] * len(events)
        self._opened().insert(
            "events",
            [times[name] if name in times else getattr(events, name) for name in COLUMNS],
            column_names=COLUMNS,
            column_type_names=list(COLUMN_TYPES.values()),
            column_oriented=True,
            settings=STORED_WHEN_ANSWERED,
        )

    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterable[Stored]:
        return starmap(Stored, self._found(application, join_keys, Stored._fields))

    def _headers(self, application: str, join_keys: Sequence[str]) -> Iterable[Header]:
        return self._found(application, join_keys, HEADER)

    def _found(self, application: str, join_keys: Sequence[str], columns: Sequence[str]) -> Iterator[Any]:
        question, parameters = look_up(application, join_keys, columns)
        with self._opened().query_rows_stream(question, parameters=parameters) as rows:
            yield from rows

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        deleted = 0
        for part in in_parts(join_keys):
            question, parameters = look_up(application, part, ["count()"])
            ((held,),) = self._opened().query(question, parameters=parameters).result_rows
            # Ask first: a mutation looks at every part of the table, and most keys hold nothing any more.
            if held:
                self._opened().command(deletion(application, part), settings=DELETED_WHEN_ANSWERED)
                deleted += int(held)
        return deleted

    def _whole(self, application: str) -> Iterator[list[Record]]:
        # A page holds whole records.
        for _, rows in self._everything(application):
            yield whole_records(application, rows)

    def _everything(self, application: str | None) -> Iterator[tuple[str, Iterable[Stored]]]:
        after = (application or "", "")
        while True:
            found = self._opened().query(PAGE, parameters=dict(zip(("application", "join_key"), after, strict=True)))
            rows = found.result_rows
            if not rows:
                return
            for name, some in groupby(rows, itemgetter(0)):
                if application in (None, name):
                    yield name, [Stored(*values[1:]) for values in some]
            after = rows[-1][0], rows[-1][1]
            if application not in (None, after[0]):
                return

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._opened().query(question).result_rows]

    def _refold(self, application: str, dry_run: bool) -> Refolded:
        if not dry_run:
            self._publish_policy(application)
        return Refolded()

    def _try_rights(self) -> None:
        """Insert zero rows: it needs the same rights as a merge."""
        self._opened().command("INSERT INTO events SELECT * FROM events WHERE 0")
        self._opened().command("INSERT INTO policies SELECT * FROM policies WHERE 0")

    def _publish_policy(self, application: str) -> None:
        """Write the policy by which the view folds, unless the table holds the same one."""
        if application in self._published:
            return
        rules, now = self._policy.rules, self._policy.now
        # Write the time only if a rule depends on it. Else each drain would add a row.
        wanted = (declared(rules), microseconds(now) if now is not None and rules.mature else None)
        client = self._opened()
        published = client.query(
            "SELECT rules, now_us FROM policies FINAL WHERE application = {application:String}",
            parameters={"application": application},
        ).result_rows
        if list(published) != [wanted]:
            names = ["application", "rules", "now_us", "written_at"]
            ((written_at,),) = client.query(POLICY_TIME, parameters={"application": application}).result_rows
            client.insert(
                "policies", [(application, *wanted, written_at)], column_names=names, settings=STORED_WHEN_ANSWERED
            )
        self._published.add(application)

    def _sample(self, application: str) -> Iterator[list[Row]]:
        parameters = {"application": application, "limit": SAMPLE_ROWS}
        keys = list(dict.fromkeys(key for (key,) in self._opened().query(NEWEST, parameters=parameters).result_rows))
        for first in range(0, len(keys), SAMPLE_BATCH):
            yield list(self._rows(application, keys[first : first + SAMPLE_BATCH]).values())

    def _standing(self, name: str) -> Standing | None:
        query = (
            "SELECT engine = 'View', comment FROM system.tables WHERE database = currentDatabase()"
            " AND name = {name:String}"
        )
        for is_view, note in self._opened().query(query, parameters={"name": name}).result_rows:
            return Standing(bool(is_view), note)
        return None

    def _run_sql(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._opened().command(statement)

    def _readers_policy(self, application: str) -> Policy:
        published = self._opened().query(
            "SELECT rules, now_us FROM policies FINAL WHERE application = {application:String}",
            parameters={"application": application},
        )
        for text, now_us in published.result_rows:
            return policy_from(text, now_us)
        return self._policy

    def _opened(self) -> Client:
        assert self._client is not None, "enter the sink first: async with open_sink(...)"
        return self._client
