"""`joinback demo`: the whole way, with real parts, in some seconds.

A loan service logs predictions and, later, what became of them; a worker process drains by its own cron
into an SQLite file; then the rows are shown, and the books.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from msgspec import structs
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

import joinback
from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.accounting import Accounting
from joinback_worker.connect import connect
from joinback_worker.drains import sink_of
from joinback_worker.embedded import embedded_valkey
from joinback_worker.redis_errors import advice
from joinback_worker.row import Row
from joinback_worker.source import Source

from .redis_cli import redis_cli
from .show import printable

INTERVAL_S = 1
"""The cron's interval in the demo; in production it is five minutes."""
PATIENCE_S = 60.0
"""Far beyond the few seconds it takes, even on a loaded machine."""

_QUERY = "select join_key, status, feedback from records"
LOANS = ["loan_17", "loan_18", "loan_19", "loan_20", "loan_21", "loan_22"]


class DemoFailed(JoinbackError):
    """The demo did not come to its end."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--keep", is_flag=True, help="Leave Redis and worker running, to look around, until Ctrl-C.")
def demo(as_json: bool, keep: bool) -> None:
    """Run a loan service, a buffer, a worker and a sink, and show the joined rows.

    Uses JOINBACK_REDIS_URL and JOINBACK_SINK_URL if they are set; else a Valkey and an SQLite file that
    live as long as the demo.
    """
    console = Console(stderr=as_json)
    settings = settings_from()
    # By default SIGTERM would leave the server and the worker behind, and a background job ignores SIGINT.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-demo-")))
        application = "loans"
        if "JOINBACK_REDIS_URL" not in os.environ:
            settings = structs.replace(settings, redis_url=stack.enter_context(embedded_valkey()), queue_url=None)
            console.print(f"embedded Valkey at {settings.redis_url}")
        else:
            # A Redis in use may know an application of that name already.
            application = f"loans-demo-{secrets.token_hex(3)}"
        if "JOINBACK_SINK_URL" not in os.environ:
            settings = structs.replace(settings, sink_url=f"sqlite:///{folder / 'joinback.db'}")
        settings = structs.replace(settings, interval_s=INTERVAL_S)
        _check(settings, application)
        worker = stack.enter_context(_worker(settings, application, folder / "worker.log"))

        def drained() -> bool:
            if worker.poll() is not None:
                raise DemoFailed(f"the worker ended: {(folder / 'worker.log').read_text()[-2000:].strip()}")
            return asyncio.run(_books(settings, application)).pending == 0

        _serve_loans(settings, application, drained, console)
        rows, books = asyncio.run(_result(settings, application))
        if as_json:
            click.echo(json.dumps(_as_json(settings, application, rows, books)))
        _show(console, application, rows, books)
        asyncio.run(_show_by_hand(console, settings, application))
        if keep:
            console.print("running until Ctrl-C …")
            while True:
                time.sleep(1)
    if books.difference or len(rows) != len(LOANS) + 1:
        raise DemoFailed(f"{len(rows)} rows, {books.summary()}")


def _check(settings: Settings, application: str) -> None:
    """Fail now, in one line, for what would only show as a demo without an end."""
    sink_of(settings)
    try:
        asyncio.run(_books(settings, application))
    except (RedisError, OSError) as error:
        raise JoinbackError(advice(error)) from None


def _serve_loans(settings: Settings, application: str, drained: Callable[[], bool], console: Console) -> None:
    """What the service logs: today predictions, weeks later what became of the loans."""
    client = joinback.Client().init(settings.redis_url, environment="demo", buffer_ttl_s=settings.buffer_ttl_s)
    today = datetime.now(UTC)
    served_at = today - timedelta(days=30)

    # Feedback may come before its prediction: the two services need not agree on an order.
    client.log_record(application, feedback={"repaid": True}, join_key="loan_22", timestamp=today)
    for number, loan in enumerate(LOANS):
        client.log_record(
            application,
            inputs={"amount": 900 + 350 * number, "term_months": 12},
            outputs={"default_probability": round(0.03 + 0.04 * number, 2)},
            join_key=loan,
            version="1.0",
            timestamp=served_at + timedelta(minutes=number),
            event_id=f"{loan}-served",
        )
    # A retried request repeats its event id: a duplicate, and nothing more.
    client.log_record(
        application, inputs={"amount": 900, "term_months": 12}, outputs={"default_probability": 0.03},
        join_key="loan_17", version="1.0", timestamp=served_at, event_id="loan_17-served",
    )  # fmt: skip
    # A second, different prediction under one key: the first stands, this one is listed.
    client.log_record(
        application, inputs={"amount": 1250, "term_months": 24}, outputs={"default_probability": 0.11},
        join_key="loan_18", version="1.1", timestamp=served_at + timedelta(hours=1),
    )  # fmt: skip
    console.print(f"served {len(LOANS)} predictions; the worker drains every {INTERVAL_S} s")
    _deliver(client, drained)

    client.log_record(application, feedback={"repaid": True, "days_late": 0}, join_key="loan_17", timestamp=today)
    client.log_record(application, feedback={"repaid": False}, join_key="loan_18", timestamp=today)
    client.log_record(application, feedback={"days_late": 14}, join_key="loan_19", timestamp=today)
    client.log_record(
        application, feedback={"repaid": True}, join_key="loan_19", timestamp=today + timedelta(seconds=1)
    )
    # Feedback on a prediction that never was: a typo in the key, say.
    client.log_record(application, feedback={"repaid": True}, join_key="laon_20", timestamp=today)
    console.print("sent feedback, 30 days later by its own time")
    _deliver(client, drained)
    client.close()


def _deliver(client: joinback.Client, drained: Callable[[], bool]) -> None:
    if not client.flush(PATIENCE_S):
        raise DemoFailed(f"Redis did not take the events: {client.stats()}")
    deadline = time.monotonic() + PATIENCE_S
    while not drained():
        if time.monotonic() > deadline:
            raise DemoFailed(f"the worker did not drain within {PATIENCE_S:.0f} s; does another one hold its claim?")
        time.sleep(0.1)


@contextmanager
def _worker(settings: Settings, application: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, as `joinback worker` starts it, restricted to the demo's application."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    for name in ("redis_url", "queue_url", "sink_url", "interval_s"):
        if getattr(settings, name) is not None:
            environment[f"JOINBACK_{name.upper()}"] = str(getattr(settings, name))
    command = [sys.executable, "-m", "joinback_worker", "worker", "--application", application]
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stderr=output) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()


async def _books(settings: Settings, application: str) -> Accounting:
    redis = connect(settings)
    try:
        return await Source(redis, wire.tag(application)).accounting()
    finally:
        await redis.aclose()


async def _result(settings: Settings, application: str) -> tuple[list[Row], Accounting]:
    async with sink_of(settings) as sink:
        rows = await sink.get(application, [*LOANS, "laon_20"])
    return [rows[key] for key in sorted(rows)], await _books(settings, application)


def _as_json(settings: Settings, application: str, rows: list[Row], books: Accounting) -> dict[str, object]:
    return {
        "rows": len(rows),
        "joined": sum(row.status == "joined" for row in rows),
        "orphans": sum(row.status == "orphan" for row in rows),
        "conflicts": sum(row.conflicts is not None for row in rows),
        "accounting": books.summary(),
        "application": application,
        "interval_s": settings.interval_s,
    }


def _show(console: Console, application: str, rows: list[Row], books: Accounting) -> None:
    table = Table(title=f"records of application {application!r}, read from the sink")
    for column in ("join_key", "status", "version", "outputs", "feedback", "delay"):
        table.add_column(column, overflow="fold")
    for row in rows:
        delay = "" if row.feedback_delay_s is None else f"{row.feedback_delay_s / 86_400:.1f} d"
        cells = [row.join_key, row.status, row.version or "", _text(row.outputs), _text(row.feedback), delay]
        table.add_row(*(printable(cell) for cell in cells))
    console.print(table)
    summary = books.summary()
    difference = summary.pop("difference")
    received = summary.pop("received")
    parts = " + ".join(f"{count} {name.replace('_', ' ')}" for name, count in summary.items())
    console.print(f"accounting: {received} received = {parts}   (difference {difference})")


async def _show_by_hand(console: Console, settings: Settings, application: str) -> None:
    """The commands that show the same, and what the first one answers."""

    def line(text: str) -> None:
        console.print(printable(text), highlight=False, soft_wrap=True)

    record = wire.record_key(wire.tag(application), "loan_17")
    redis = connect(settings)
    try:
        answer = await redis.execute_command("HGETALL", record)
    finally:
        await redis.aclose()
    console.print()
    line("A record in Redis, by redis-cli or valkey-cli, while this runs (joinback demo --keep):")
    line(f"  $ {redis_cli(settings.redis_url)} HGETALL '{record}'")
    for field, event in answer.items():
        line(f"  {field.decode()}")
        line(f"  {event.decode()}")
    line("The rows, in SQL:")
    line(f"  $ sqlite3 {settings.sink_url.removeprefix('sqlite:///')} '{_QUERY}'")


def _text(json_bytes: bytes | None) -> str:
    return "" if json_bytes is None else json_bytes.decode()
