"""What somebody altered by hand costs what it touches and nothing else: one row, one counter, one key."""

import asyncio
import json
import re
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from conftest import PATIENCE_S, Cli, Stack
from events import feedback, prediction, record
from msgspec import structs
from ruled import policy, reducing

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.source import Source
from joinback_worker.errors import SinkRefused
from joinback_worker.law.row import project, unfold
from joinback_worker.operating.redis_cli import redis_cli
from joinback_worker.sinks import open_sink

TAG = wire.tag("loans")
OTHERS = 100

# Column -> what somebody wrote there; SQLite lets anything stand anywhere.
ALTERED = {
    "feedback_events": ["'see ticket 12'", "'5'", "'{\"feedback:f\":5}'", "x'ff'", "'[]'", "12"],
    "conflicts": ["'{'", "'{\"prediction:p\":{}}'"],
    "predicted_at": ["NULL", "'yesterday'", "5", "''"],
    "logged_at": ["NULL", "'9999'"],
    "inputs": ["NULL"],
    "outputs": ["NULL"],
    "prediction_event_id": ["NULL", "x'07'"],
    "version": ["x'00ff'", "CAST(x'ff' AS TEXT)"],
    "sample_rate": ["'half'"],
    "feedback_at": ["'x'"],
}


@pytest.fixture(params=[(column, value) for column, values in ALTERED.items() for value in values], ids=str)
def altered(request: pytest.FixtureRequest) -> tuple[str, str]:
    column, value = request.param
    return column, value


def log_then_alter(stack: Stack, altered: tuple[str, str]) -> None:
    """One joined row, altered; then a label for it, and a hundred others."""
    stack.client.log_record(
        "loans", inputs=1, outputs=2, feedback={"a": 1}, tags={"t": 1}, version="1", join_key="edited", event_id="e"
    )
    assert stack.drain().joined == 1
    stack.execute("UPDATE records SET {} = {}".format(*altered))
    stack.client.log_record("loans", feedback={"a": 2}, join_key="edited", event_id="new")
    for n in range(OTHERS):
        stack.client.log_record("loans", inputs=n, outputs=n, join_key=f"loan_{n}")


def test_an_edited_cell_costs_its_own_row_only(stack: Stack, altered: tuple[str, str]) -> None:
    """The other hundred rows are written; the label is a letter that names the column, and comes in by replay."""
    log_then_alter(stack, altered)
    # As if Redis had let the record go: the row is all there is.
    stack.client.flush(PATIENCE_S)
    stack.server.hdel(stack.record("edited"), "prediction:e", "feedback:e")
    drained = stack.drain()
    assert (drained.error, drained.rows, drained.dead) == (None, OTHERS, 1)
    (letter,) = stack.dead()
    assert (letter["key"], letter["event"], letter["reason"]) == ("edited", "feedback:new", "sink_refused")
    if "CAST" not in altered[1]:
        assert f"column {altered[0]} of the sink's row" in letter["detail"]
    assert "joinback dead replay" in letter["detail"]
    # Nothing of the row was touched.
    assert stack.rows("row_version > 1") == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("inputs", "see ticket 12"), ("inputs", ""), ("outputs", "{"), ("tags", "[1]"), ("tags", "x")],
)
def test_a_label_does_not_read_what_was_predicted(stack: Stack, column: str, value: str) -> None:
    """Into a row whose prediction's JSON somebody edited a label comes as into any other; the edited cell stays."""
    log_then_alter(stack, (column, f"'{value}'"))
    stack.client.flush(PATIENCE_S)
    stack.server.hdel(stack.record("edited"), "prediction:e", "feedback:e")
    drained = stack.drain()
    assert (drained.error, drained.rows, drained.dead) == (None, OTHERS + 1, 0)
    row = stack.row("edited")
    assert (row["feedback"], row[column], row["row_version"]) == ('{"a":2}', value, 2)


@pytest.mark.parametrize("command", ["drain", "worker"])
def test_no_traceback(stack: Stack, spawn: Any, wait_until: Callable[..., None], command: str) -> None:
    """The process that a user starts goes on, ends as it should, and shows no traceback."""
    log_then_alter(stack, ("feedback_events", "'see ticket 12'"))
    assert stack.client.flush(PATIENCE_S)
    process = spawn("-m", "joinback_worker", command, JOINBACK_INTERVAL_S="1")
    wait_until(lambda: stack.books().pending == 0)
    if command == "worker":
        process.terminate()
    assert process.wait(PATIENCE_S) == 0
    process.log.seek(0)
    assert "Traceback" not in process.log.read()
    assert len(stack.rows()) == OTHERS + 1


def test_mended_and_replayed(stack: Stack, cli: Cli) -> None:
    """As the letter says: delete the row, replay, and the events are there again."""
    log_then_alter(stack, ("inputs", "NULL"))
    assert stack.drain().dead == 3
    stack.execute("DELETE FROM records WHERE join_key = 'edited'")
    assert cli("dead", "replay", "loans", "--reason", "sink_refused").stdout == "replayed 3\n"
    assert stack.drain().joined == 1
    assert stack.row("edited")["feedback"] == '{"a":2}'


def test_edited_rows_that_mature_stop_no_others(stack: Stack) -> None:
    """Rows that cannot be read cannot be closed; those behind them are, and the trouble is told."""
    old = datetime.now(UTC) - timedelta(hours=2)
    for n in range(30):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=f"loan_{n:02}", timestamp=old)
    stack.drain()
    stack.execute("UPDATE records SET logged_at = 'x' WHERE join_key IN ('loan_03', 'loan_17')")
    drained = stack.drain({"loans": {"maturity_s": 3_600}})
    assert drained.error is not None
    assert drained.error.startswith("2 matured rows cannot be written, 28 were written: column logged_at")
    assert len(stack.rows("status = 'unlabelled'")) == 28


def test_more_edited_rows_than_a_batch_closes(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows cannot be closed, they do not stand in the way of the others."""
    monkeypatch.setattr("joinback_worker.sinks.merge_on_write.CLOSE_ROWS", 3)
    old = datetime.now(UTC) - timedelta(hours=2)
    for n in range(12):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=f"loan_{n:02}", timestamp=old)
    stack.drain()
    stack.execute("UPDATE records SET logged_at = 'x' WHERE join_key < 'loan_08'")
    stack.drain({"loans": {"maturity_s": 3_600}})
    assert len(stack.rows("status = 'unlabelled'")) == 4


def test_emit_joined_meets_an_edited_row(stack: Stack) -> None:
    """A label for a row that is there and cannot be read is a letter, not unemitted."""
    log_then_alter(stack, ("predicted_at", "'x'"))
    stack.client.flush(PATIENCE_S)
    stack.server.hdel(stack.record("edited"), "prediction:e", "feedback:e")
    assert stack.drain(emit="joined").dead == 1
    assert [letter["reason"] for letter in stack.dead()] == ["sink_refused"]


def test_a_time_as_sqlite_writes_it(stack: Stack) -> None:
    """A row whose time somebody set by SQLite's own datetime('now') is still a row; it is in UTC."""
    log_then_alter(stack, ("predicted_at", "datetime('now')"))
    assert (stack.drain().dead, stack.row("edited")["status"]) == (0, "joined")


def test_explain_of_an_edited_row(stack: Stack, cli: Cli) -> None:
    """`explain` shows what Redis holds, and says of the row what is wrong with it."""
    log_then_alter(stack, ("inputs", "NULL"))
    stack.execute("UPDATE records SET feedback_at = 'x'")
    shown = cli("explain", "loans", "edited")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "prediction:e" in shown.stdout
    assert "column feedback_at of the sink's row is not a time" in shown.stdout


def test_a_prediction_is_no_casualty_of_its_label(stack: Stack) -> None:
    """A label of 400 digits under `mean` gives null, and the row is written."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.log_record("loans", feedback={"n": 1}, join_key="a", event_id="big")
    stack.client.flush(PATIENCE_S)
    body = stack.server.hget(stack.record("a"), "feedback:big")
    stack.server.hset(stack.record("a"), "feedback:big", body.replace(b'"n":1', b'"n":' + b"9" * 400))
    drained = stack.drain({"loans": reducing(n="mean")})
    assert (drained.joined, drained.dead) == (1, 0)
    assert stack.row("a")["feedback"] == '{"n":null}'


# --- the books ------------------------------------------------------------------------------------------------


def test_text_among_the_counters(stack: Stack, cli: Cli) -> None:
    """A note that somebody left in the books is told by name; drain and status go on, for all applications."""
    for application in ("ads", "loans"):
        stack.client.log_record(application, inputs=1, outputs=2, join_key="a")
    stack.client.flush(PATIENCE_S)
    stack.server.hset(wire.stats_key(TAG), "note", "see ticket 12")
    stack.server.hset(wire.stats_key(TAG), "rows", "many")
    drained = cli("drain")
    assert (drained.returncode, drained.stderr) == (0, "")
    assert "rows=2" in drained.stdout
    status = cli("status")
    assert (status.returncode, "Traceback" in status.stderr) == (1, False)
    assert "books_unreadable: loans: 'note' in joinback:{loans}:stats is not a number\n    delete it: " in status.stdout
    assert "'rows'" in status.stdout
    assert stack.books().in_rows == 2


@pytest.mark.parametrize("name", ["received:prediction", "in_rows", "rows", "two words", "a; b: c", "long" * 50])
def test_the_command_that_mends_a_counter(stack: Stack, cli: Cli, name: str) -> None:
    """Text at a counter is told with the redis-cli line that puts the books right; the difference waits for it."""
    for key in ("a", "b"):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    stack.drain()
    stack.server.hset(wire.stats_key(TAG), name, "many")
    found = json.loads(cli("status", "--json").stdout)["applications"]["loans"]["findings"]
    fixes = {one["name"]: one["fix"] for one in found}
    assert ("difference" in fixes) == (name in ("received:prediction", "in_rows"))
    assert "books_unreadable" in fixes.get("difference", "books_unreadable")
    own = redis_cli(stack.settings.redis_url)
    what, _, command = fixes["books_unreadable"].partition(f": {own} ")
    assert what.startswith(("set it to", "delete it"))
    stack.server.execute_command(*shlex.split(command))
    told = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    assert (told["received"], told["in_rows"], told["difference"], told["findings"]) == (2, 2, 0, [])


def test_a_counter_of_more_than_64_bits(stack: Stack, cli: Cli) -> None:
    """A number that Redis cannot count on from counts as text does: it is told, and no figure is made of it."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.server.hset(wire.stats_key(TAG), "in_rows", 1 << 70)
    told = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    assert (told["in_rows"], told["difference"], "in_rows" in told["counters"]) == (0, 1, False)
    fixes = {one["name"]: one for one in told["findings"]}
    says = "loans: 'in_rows' in joinback:{loans}:stats is a number that Redis cannot count on from"
    assert fixes["books_unreadable"]["says"] == says
    (command,) = re.findall(r" (HSET .*)", fixes["books_unreadable"]["fix"])
    stack.server.execute_command(*shlex.split(command))
    assert stack.books().in_rows == 1


def deleted(cli: Cli, stack: Stack) -> tuple[dict[str, Any], str]:
    """Return what status says of the application, and run the command that it names for its counters."""
    told = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    (found,) = [one for one in told["findings"] if one["name"] == "books_unreadable"]
    (command,) = re.findall(r" (HSET .*)", found["fix"])
    stack.server.execute_command(*shlex.split(command))
    stack.server.expire(wire.stats_key(TAG), 600)
    return told, found["says"]


def test_counters_that_were_deleted(stack: Stack, cli: Cli) -> None:
    """Deleted counters are told, as long as the last drain's note or the letters know of more; the line that is named
    brings them back, and no letter is more than all letters ever.
    """
    for key in ("a", "b", "c"):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    stack.client.flush(PATIENCE_S)
    stack.server.delete(stack.record("a"), stack.record("b"))
    stack.drain()
    before = stack.server.hgetall(wire.stats_key(TAG))
    before.pop(b"buffer_ttl_s")
    stack.server.delete(wire.stats_key(TAG))
    told, says = deleted(cli, stack)
    assert (told["dead_now"], told["dead_ever"]) == (2, 2)
    assert says == "loans: joinback:{loans}:stats counts 0 events, and at the last drain 3: it was deleted since"
    assert stack.server.hgetall(wire.stats_key(TAG)) == before
    assert "books_unreadable" not in cli("status").stdout
    # Once a drain has noted the new counters, only the letters tell.
    stack.server.delete(wire.stats_key(TAG))
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="d")
    stack.drain()
    told, says = deleted(cli, stack)
    assert says == "loans: joinback:{loans}:stats counts 0 dead letters, and 2 are there: it was deleted"
    assert "books_unreadable" not in cli("status").stdout
    assert stack.books().dead == 2


def test_the_command_that_makes_room(stack: Stack, cli: Cli) -> None:
    """Where another type stands at the key of the counters, the line moves it away and keeps it."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.flush(PATIENCE_S)
    stack.server.rename(wire.stats_key(TAG), "kept")
    stack.server.set(wire.stats_key(TAG), "mine", ex=600)
    found = json.loads(cli("status", "--json").stdout)["applications"]["loans"]["findings"]
    (fix,) = [one["fix"] for one in found if one["name"] == "books_unreadable"]
    what, _, command = fix.partition(f": {redis_cli(stack.settings.redis_url)} ")
    assert what == "rename it"
    stack.server.execute_command(*shlex.split(command))
    assert stack.server.get(f"foreign:{wire.stats_key(TAG)}") == b"mine"
    assert "books_unreadable" not in cli("status").stdout
    stack.server.rename("kept", wire.stats_key(TAG))


@pytest.mark.parametrize("key", ["pending", "stats", "dead"])
def test_a_key_of_the_books_of_a_wrong_type(stack: Stack, cli: Cli, key: str) -> None:
    """One application's key is something else: it is told, and the others are drained and shown."""
    for application in ("ads", "loans"):
        stack.client.log_record(application, inputs=1, outputs=2, join_key="a")
    stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("a"), "feedback:torn", "rubbish")
    name = f"joinback:{{loans}}:{key}"
    kept = name + ":kept"
    if stack.server.exists(name):
        stack.server.rename(name, kept)
    stack.server.set(name, "mine", ex=600)
    drained, status = cli("drain"), cli("status")
    assert "Traceback" not in drained.stderr + status.stderr
    assert [row["application"] for row in stack.rows("application = 'ads'")] == ["ads"]
    assert "ads" in status.stdout
    if key != "dead":
        assert f"{name} is a string, not a" in status.stdout
        assert status.returncode == 1
    else:
        # The letter could not be written, so its entry waits.
        assert drained.returncode == 2
    stack.server.delete(name)
    if stack.server.exists(kept):
        stack.server.rename(kept, name)
    stack.drain()
    assert len(stack.rows()) == 2
    if key == "stats":
        stack.server.delete(name)  # what could not be counted is not


# --- trouble that nobody foresaw --------------------------------------------------------------------------------


class Broken:
    """A sink with a bug."""

    looks_up = True

    def __init__(self, sink: Any) -> None:
        self.sink = sink

    async def merge(self, records: Sequence[Any]) -> Any:
        return {}["secret payload"]

    async def close_matured(self, application: str) -> int:
        return 0


def test_an_unknown_exception_ends_the_drain_and_keeps_the_entries(stack: Stack) -> None:
    """Its type and place are told, not its words; what was claimed is given back, for the next tick."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    stack.client.flush(PATIENCE_S)

    async def cycle(settings: Settings) -> Drained:
        buffer = connect(settings)
        try:
            async with open_sink(settings.sink_url) as sink:
                broken: Any = Broken(sink)
                return await drain(Source(buffer, TAG), broken, "loans")
        finally:
            await buffer.aclose()

    drained = asyncio.run(cycle(stack.settings))
    assert drained.released == 1
    assert drained.error is not None
    assert drained.error.startswith("KeyError at refusals.py:")
    assert "secret" not in drained.error
    assert stack.drain().rows == 1


# --- the row itself -----------------------------------------------------------------------------------------------


def test_a_row_of_a_newer_worker_is_not_made_smaller() -> None:
    """An event in a row that this worker cannot read would be gone from a row that it wrote: it is refused."""
    row, _ = project(record({"prediction:p": prediction(), "feedback:f": feedback(1, a=1)}), policy(join_window_s=60))
    assert row.feedback_events is not None
    newer = structs.replace(row, feedback_events=row.feedback_events.replace(b'"v":1', b'"v":9'))
    with pytest.raises(SinkRefused, match="feedback_events"):
        unfold(newer)
    assert msgspec.json.decode(wire.encode(unfold(row).fields)) is not None
