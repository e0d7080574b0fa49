"""Every sink on its real engine, for the conformance suite: where it lives, and how its users read `records`."""

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

import pytest

from joinback.settings import Settings
from joinback_worker.sinks import lake_view

JSON = frozenset(
    {"inputs", "outputs", "tags", "feedback", "default_fields", "field_times", "feedback_events", "conflicts"}
)


@dataclass(frozen=True)
class Engine:
    """One sink, and what of the promise it keeps in a way of its own."""

    name: str
    looks_up: ClassVar[bool] = True
    """It tells joined, late and full by what it holds, not only by what a batch holds."""
    closes_by_writing: ClassVar[bool] = True
    """It counts the rows that matured, as it writes them; else they are closed when they are read."""
    holds_nul: ClassVar[bool] = True
    """A NUL in a text is text like any other."""
    examples: ClassVar[int] = 60
    """Of a random test."""
    is_heavy: ClassVar[bool] = False
    """Its packages are hundreds of megabytes, or its tests take minutes: in CI's own step."""

    def place(self, tmp_path: Path) -> AbstractContextManager[str]:
        """The URL of an empty sink."""
        raise NotImplementedError

    def records(self, url: str, settings: Settings) -> list[Mapping[str, Any]]:
        """All of `records`, as a user's SQL reads it."""
        raise NotImplementedError

    def rows(self, url: str, settings: Settings | None = None) -> dict[str, dict[str, Any]]:
        """`records` by join key, in Python's types: JSON decoded, times in UTC."""
        read = self.records(url, settings or Settings())
        rows = {row["join_key"]: {name: _plain(name, value) for name, value in row.items()} for row in read}
        assert len(rows) == len(read), "a key has two rows"
        return rows


def _plain(name: str, value: Any) -> Any:
    if name in JSON and isinstance(value, str | bytes):
        return json.loads(value)
    if name.endswith("_at") and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return bool(value) if name == "clock_skew" else value


class SQLite(Engine):
    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        yield f"sqlite:///{tmp_path}/sink.db"

    def records(self, url: str, settings: Settings) -> list[Mapping[str, Any]]:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM records")]


class PostgreSQL(Engine):
    holds_nul = False
    examples = 40

    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        from postgres_server import fresh_database

        with fresh_database() as url:
            yield url

    def records(self, url: str, settings: Settings) -> list[Mapping[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row
        from psycopg.types.json import set_json_loads

        with psycopg.connect(url, row_factory=dict_row) as connection:
            set_json_loads(bytes, connection)
            rows = list(connection.execute("SELECT * FROM records"))
            # `prediction` is for the merge: the winner's JSON as it was logged.
            return [{name: cell for name, cell in row.items() if name != "prediction"} for row in rows]


class ClickHouse(Engine):
    """The true engine in this process; the client code is the one that speaks to a server."""

    closes_by_writing = False
    examples = 25
    is_heavy = True

    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        yield f"chdb:///{tmp_path}/chdb"

    def records(self, url: str, settings: Settings) -> list[Mapping[str, Any]]:
        from clickhouse_connect import get_client

        with closing(get_client(interface="chdb", path=urlsplit(url).path[1:])) as client:
            return list(client.query("SELECT * FROM records").named_results())


class Lake(Engine):
    """What is read through the DuckDB view."""

    closes_by_writing = False
    examples = 25

    def records(self, url: str, settings: Settings) -> list[Mapping[str, Any]]:
        import duckdb

        with duckdb.connect(config={"threads": 2}) as database:
            database.execute("SET TimeZone = 'UTC'")
            # Temporary, as a view may not outlive what is registered with one connection.
            view = lake_view.view(self.source(database, url), settings).replace("OR REPLACE", "OR REPLACE TEMP")
            database.execute(view)
            found = database.execute("SELECT * FROM records")
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def source(self, database: Any, url: str) -> str:
        raise NotImplementedError


class Parquet(Lake):
    looks_up = False

    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        yield f"parquet:///{tmp_path}/parquet"

    def source(self, database: Any, url: str) -> str:
        return lake_view.parquet_source(Path(urlsplit(url).path[1:]))


class JsonLines(Lake):
    looks_up = False

    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        yield f"jsonl:///{tmp_path}/jsonl"

    def source(self, database: Any, url: str) -> str:
        return lake_view.jsonl_source(Path(urlsplit(url).path[1:]))


class Delta(Lake):
    examples = 15

    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        yield f"delta:///{tmp_path}/delta"

    def source(self, database: Any, url: str) -> str:
        from deltalake import DeltaTable

        # DuckDB's delta extension is not to be had from a package index; the files of the newest version are.
        return f"read_parquet({DeltaTable(urlsplit(url).path[1:]).file_uris()})"


@cache
def _s3() -> str:
    """The address of an S3 server, for the whole run."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


class DeltaOnS3(Delta):
    examples = 5
    is_heavy = True

    @contextmanager
    def place(self, tmp_path: Path) -> Iterator[str]:
        import boto3

        key = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        bucket = f"lake-{abs(hash(tmp_path)):x}"
        boto3.client("s3", endpoint_url=_s3(), **key).create_bucket(Bucket=bucket)
        yield f"delta+s3://{bucket}/joinback?{_s3_options()}"

    def source(self, database: Any, url: str) -> str:
        from deltalake import DeltaTable

        from joinback_worker.sinks.delta import location_of

        location, options = location_of(url)
        database.register("lake", DeltaTable(location, storage_options=options).to_pyarrow_table())
        return "lake"


def _s3_options() -> str:
    return urlencode(
        {
            "AWS_ENDPOINT_URL": _s3(),
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
    )


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        SQLite("sqlite"),
        PostgreSQL("postgresql"),
        ClickHouse("clickhouse"),
        Delta("delta"),
        DeltaOnS3("delta+s3"),
        Parquet("parquet"),
        JsonLines("jsonl"),
    )
}


def named(*names: str) -> list[Any]:
    """Return engines' names as the parameters of a fixture."""
    return [pytest.param(name, marks=[pytest.mark.heavy] * ENGINES[name].is_heavy) for name in names]


EACH_ENGINE = named(*ENGINES)
