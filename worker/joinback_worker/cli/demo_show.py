"""What the demo shows: its rows, each status explained, the books, and what to do next."""

import os

from rich.console import Console
from rich.table import Table

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.law.row import Row
from joinback_worker.notes.accounting import Accounting
from joinback_worker.operating.redis_cli import redis_cli, redis_password_hint
from joinback_worker.operating.sql_line import sql_line
from joinback_worker.sinks import shown

from .show import printable

_QUERY = "select join_key, status, feedback from records"

_CAPTIONS = """
joined     prediction and feedback met: loan_17 to loan_19, and loan_22, whose feedback came first
predicted  no feedback yet: loan_20 and loan_21; it may still come for six months
orphan     feedback without a prediction: laon_20 is misspelt, so loan_20 still waits for its label
duplicate  loan_17's prediction was sent twice with one event id, as a retried request does: still one row
conflict   loan_18 was predicted twice: the first one counts, the other is in the column `conflicts`
""".strip()


def as_json(settings: Settings, application: str, rows: list[Row], books: Accounting) -> dict[str, object]:
    return {
        "rows": len(rows),
        "joined": sum(row.status == "joined" for row in rows),
        "orphans": sum(row.status == "orphan" for row in rows),
        "conflicts": sum(row.conflicts is not None for row in rows),
        "accounting": books.summary(),
        "application": application,
        "interval_s": settings.interval_s,
    }


def show(console: Console, application: str, rows: list[Row], books: Accounting) -> None:
    console.print(f"\nrecords of application {printable(application)!r}, read from the sink:\n", highlight=False)
    # Without a box, JSON is not cut within a word at 80 columns.
    table = Table(box=None, pad_edge=False)
    for column in ("join_key", "status", "outputs", "feedback", "delay"):
        table.add_column(column, overflow="fold")
    for row in rows:
        delay = "" if row.feedback_delay_s is None else f"{row.feedback_delay_s / 86_400:.0f} d"
        cells = [row.join_key, row.status, _text(row.outputs), _text(row.feedback), delay]
        table.add_row(*(printable(cell) for cell in cells))
    console.print(table)
    summary = books.summary()
    difference = summary.pop("difference")
    received = summary.pop("received")
    parts = " + ".join(f"{count} {name.replace('_', ' ')}" for name, count in summary.items())
    console.print(f"\naccounting: {received} received = {parts}   (difference {difference})", soft_wrap=True)
    console.print(f"\n{_CAPTIONS}", highlight=False, soft_wrap=True)


async def show_by_hand(console: Console, settings: Settings, application: str, *, is_kept: bool) -> None:
    """Print how Redis holds one record, the commands that show it while the demo runs, and what to do next."""

    def line(text: str) -> None:
        console.print(printable(text), highlight=False, soft_wrap=True)

    record = wire.record_key(wire.tag(application), "loan_17")
    redis = connect(settings)
    try:
        answer = await redis.execute_command("HGETALL", record)
    finally:
        await redis.aclose()
    console.print()
    line(f"A record as Redis holds it, {record}:")
    for field, event in answer.items():
        line(f"  {field.decode()}")
        line(f"  {event.decode()}")
    console.print()
    own_sink = "JOINBACK_SINK_URL" in os.environ
    query = f"{_QUERY} where application = '{application}'"
    sql = sql_line(settings.sink_url, query)
    if is_kept:
        line("By hand, while this runs:")
        if hint := redis_password_hint(settings):
            line(f"  # {hint}")
        line(f"  $ {redis_cli(settings.redis_url, raw=True)} HGETALL '{record}'")
    if sql and (is_kept or own_sink):
        line("The rows, by SQL:")
        line(f"  $ {sql}")
    if own_sink:
        line(f"The rows of application {application!r} stay in {shown(settings.sink_url)}. Delete them there.")
    if not is_kept:
        line("To look around, and to open the page in a browser: joinback demo --keep.")
    line(
        "Next: call joinback.log_record(…) in your service, as README shows; then joinback doctor and joinback worker."
    )


def _text(json_bytes: bytes | None) -> str:
    return "" if json_bytes is None else json_bytes.decode()
