"""`joinback demo`: the whole way of a label, with real parts, in some seconds.

A loan service logs predictions and, later, what became of the loans. A worker process drains them into an SQLite file.
Then the demo shows the rows, the books, and a page with two months of such loans.
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
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from msgspec import structs
from redis.exceptions import RedisError
from rich.console import Console

import joinback
from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback.urls import shown_url
from joinback_worker.connection.connect import connect
from joinback_worker.connection.redis_errors import advice
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.law.row import Row
from joinback_worker.notes.accounting import Accounting
from joinback_worker.notes.guard import adopt
from joinback_worker.notes.layouts import Layout
from joinback_worker.operating.purging import purge
from joinback_worker.sinks import open_sink

from .demo_months import APPLICATION as MONTHS
from .demo_months import RULES, log_months, months
from .demo_page import served, show_months
from .demo_show import as_json, show, show_by_hand
from .terminal import terminal

INTERVAL_S = 1
"""The worker's interval in the demo. By default it is five minutes."""
PATIENCE_S = 120.0
"""The demo takes a few seconds. Even a loaded machine needs far less than this."""

LOANS = ["loan_17", "loan_18", "loan_19", "loan_20", "loan_21", "loan_22"]
JOIN_KEYS = [*LOANS, "laon_20"]


class DemoFailed(JoinbackError):
    """The demo did not finish."""


@click.command(short_help="Show the whole way of a label in some seconds.")
@click.option("--json", "json_wanted", is_flag=True, help="Print the result as one JSON object.")
@click.option("--keep", is_flag=True, help="Leave Redis, worker and page running until Ctrl-C.")
def demo(json_wanted: bool, keep: bool) -> None:
    """Run a loan service, a buffer, a worker and a sink, and show the joined rows.

    If JOINBACK_REDIS_URL and JOINBACK_SINK_URL are not set, it starts a Valkey and makes an SQLite file, which end with
    the demo. In a Redis of yours it uses an application of its own, and deletes it at the end. Rows in a sink of yours
    stay, and it says which. With a Redis or a sink of yours it leaves out the two months of loans, as they are many
    rows. In a terminal it runs until Ctrl-C, so that you can look at its page.
    """
    console = terminal(stderr=json_wanted)
    keep = keep or (sys.stdin.isatty() and sys.stdout.isatty() and not json_wanted)
    # By default, SIGTERM would leave server and worker running, and a background job ignores SIGINT.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-demo-")))
        settings, application = _places(settings_from(), stack, folder, console)
        loans = [] if _is_yours() else months()
        played = [application, MONTHS] if loans else [application]
        _check(settings, played)
        stack.callback(_clean_up, settings, application)
        worker = stack.enter_context(_worker(settings, played, folder / "worker.log"))

        def drained() -> bool:
            if worker.poll() is not None:
                raise DemoFailed(f"the worker ended: {(folder / 'worker.log').read_text()[-2000:].strip()}")
            return all(asyncio.run(_books(settings, name)).pending == 0 for name in played)

        client = joinback.Client().init(settings.redis_url, environment="demo", buffer_ttl_s=settings.buffer_ttl_s)
        with closing(client):
            _serve_loans(client, application, drained, console)
            if loans:
                log_months(client, loans)
                _deliver(client, drained)
        rows, books = asyncio.run(_result(settings, application))
        if json_wanted:
            click.echo(json.dumps(as_json(settings, application, rows, books)))
        show(console, application, rows, books)
        if loans:
            show_months(console, settings, loans)
        asyncio.run(show_by_hand(console, settings, application, is_kept=keep))
        if keep:
            # Without it the page would end with this process, before anybody could open it.
            with served(console, settings, loans):
                console.print("running until Ctrl-C …")
                while True:
                    time.sleep(1)
    if books.difference or len(rows) != len(LOANS) + 1:
        raise DemoFailed(f"{len(rows)} rows, {books.summary()}")


def _is_yours() -> bool:
    """Return whether the Redis or the sink belongs to the person who runs the demo."""
    return "JOINBACK_REDIS_URL" in os.environ or "JOINBACK_SINK_URL" in os.environ


def _places(settings: Settings, stack: ExitStack, folder: Path, console: Console) -> tuple[Settings, str]:
    """Return the demo's settings and the name of its application."""
    application = "loans"
    if "JOINBACK_REDIS_URL" not in os.environ:
        url = stack.enter_context(embedded_valkey())
        settings = structs.replace(settings, redis_url=url, queue_url=None, redis_credentials=None)
        # They belong to another Redis, and the demo's client would use them.
        os.environ.pop("JOINBACK_REDIS_CREDENTIALS", None)
        console.print(f"embedded Valkey at {shown_url(settings.redis_url)}")
    else:
        # A Redis in use may know an application of that name already.
        application = f"loans-demo-{secrets.token_hex(3)}"
    if "JOINBACK_SINK_URL" not in os.environ:
        settings = structs.replace(settings, sink_url=f"sqlite:///{folder / 'joinback.db'}")
    rules = folder / "joinback.toml"
    rules.write_text(RULES)
    return structs.replace(settings, interval_s=INTERVAL_S, config=str(rules)), application


def _check(settings: Settings, played: list[str]) -> None:
    """Publish the demo's sink. Raises JoinbackError for what would else be a demo that waits for ever."""
    open_sink(settings.sink_url)
    try:
        asyncio.run(_adopt(settings, played))
    except (RedisError, OSError) as error:
        raise JoinbackError(advice(error)) from None


async def _adopt(settings: Settings, played: list[str]) -> None:
    """Give the demo's applications a sink of their own, whatever the sink of this Redis is."""
    redis = connect(settings)
    try:
        await adopt(redis, settings.sink_url, played)
    finally:
        await redis.aclose()


def _clean_up(settings: Settings, application: str) -> None:
    """Delete the demo's application in Redis. An embedded Redis ends a moment later anyway."""

    async def run() -> None:
        redis = connect(settings)
        try:
            await purge(redis, application, Layout())
        finally:
            await redis.aclose()

    with suppress(RedisError, OSError):
        asyncio.run(run())


def _serve_loans(client: joinback.Client, application: str, drained: Callable[[], bool], console: Console) -> None:
    """Log what the service logs: predictions first, and weeks later what became of the loans."""
    today = datetime.now(UTC)
    served_at = today - timedelta(days=30)

    # Feedback may come before its prediction.
    client.log_record(application, feedback={"repaid": True}, join_key="loan_22", timestamp=today)
    for number, loan in enumerate(LOANS):
        client.log_record(
            application,
            inputs={"amount": 900 + 350 * number, "term_months": 12},
            outputs={"default": round(0.03 + 0.04 * number, 2)},
            join_key=loan,
            version="1.0",
            timestamp=served_at + timedelta(minutes=number),
            event_id=f"{loan}-served",
        )
    # A retried request repeats its event id. It counts as a duplicate and changes nothing.
    client.log_record(
        application, inputs={"amount": 900, "term_months": 12}, outputs={"default": 0.03},
        join_key="loan_17", version="1.0", timestamp=served_at, event_id="loan_17-served",
    )  # fmt: skip
    # A second, different prediction with the same key: the first one counts, this one is listed as a conflict.
    client.log_record(
        application, inputs={"amount": 1250, "term_months": 24}, outputs={"default": 0.11},
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
    # Feedback without a prediction: the key has a typo.
    client.log_record(application, feedback={"repaid": True}, join_key="laon_20", timestamp=today)
    console.print("sent feedback, dated 30 days after the predictions")
    _deliver(client, drained)


def _deliver(client: joinback.Client, drained: Callable[[], bool]) -> None:
    if not client.flush(PATIENCE_S):
        raise DemoFailed(f"Redis did not take the events: {client.stats()}")
    deadline = time.monotonic() + PATIENCE_S
    while not drained():
        if time.monotonic() > deadline:
            raise DemoFailed(f"the worker did not drain within {PATIENCE_S:.0f} s; does another worker hold the claim?")
        time.sleep(0.1)


@contextmanager
def _worker(settings: Settings, played: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process, as `joinback worker` starts it, restricted to the demo's applications."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    for name in ("redis_url", "redis_credentials", "queue_url", "sink_url", "interval_s", "config"):
        if getattr(settings, name) is not None:
            environment[f"JOINBACK_{name.upper()}"] = str(getattr(settings, name))
    only = [word for name in played for word in ("--application", name)]
    command = [sys.executable, "-m", "joinback_worker", "worker", *only]
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
    async with open_sink(settings.sink_url) as sink:
        rows = await sink.get(application, JOIN_KEYS)
    return [rows[key] for key in sorted(rows)], await _books(settings, application)
