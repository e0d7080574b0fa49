"""What is particular to the PostgreSQL sink: a server in trouble, a schema, rights, and what jsonb does to JSON."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest
from conftest import wait_for
from events import at, feedback, prediction, record, retraction
from postgres_server import Server, fresh_database, postgres_server, shared_server
from ruled import policy, reducing

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row, project
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Merged, open_sink, postgres_table
from joinback_worker.sinks.postgres import PostgresSink, schema
from joinback_worker.sinks.postgres_session import Session

POLICY = Policy()
SCHEMA = schema("postgresql://", Settings())


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def test_a_pooler_that_takes_no_options() -> None:
    """PgBouncer refuses `options` at the start: the line says what to do instead."""
    refusal = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
    with socket.create_server(("127.0.0.1", 0)) as pooler:

        def answer() -> None:
            # As libpq comes: it asks for TLS, is told no, and sends its startup message.
            connection, _ = pooler.accept()
            with connection:
                while (length := int.from_bytes(connection.recv(4))) == 8:
                    connection.recv(4)
                    connection.sendall(b"N")
                connection.recv(length)
                connection.sendall(b"E" + (len(refusal) + 4).to_bytes(4) + refusal)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SinkUnavailable, match=r"a pooler takes no `options`.* alter role … set search_path"):
            merge(
                f"postgresql://u@127.0.0.1:{pooler.getsockname()[1]}/d?options=-csearch_path%3Djoinback&gssencmode=disable"
            )
        thread.join(30)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server to stop."""
    with postgres_server() as server:
        yield server


def sink(url: str, policy: Policy = POLICY) -> PostgresSink:
    opened = open_sink(url, policy)
    assert isinstance(opened, PostgresSink)
    return opened


def merge(url: str, *records: Record) -> Merged:
    async def run() -> Merged:
        async with sink(url) as opened:
            return await opened.merge(records or [predicted("k")])

    return asyncio.run(run())


def erase(url: str, *keys: str) -> int:
    async def run() -> int:
        async with sink(url) as opened:
            return await opened.erase("loans", keys)

    return asyncio.run(run())


def held(url: str, *keys: str) -> dict[str, Row]:
    async def run() -> dict[str, Row]:
        async with sink(url) as opened:
            return await opened.get("loans", keys)

    return asyncio.run(run())


def predicted(key: str, **fields: Any) -> Record:
    return record({"prediction:p": prediction(**fields)}, key)


def sql(url: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def trigger(url: str, body: str, when: str = "BEFORE INSERT OR UPDATE") -> None:
    """Run a piece of PL/pgSQL for each row that is written."""
    sql(url, f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$")
    sql(url, f"CREATE TRIGGER t {when} ON records FOR EACH ROW EXECUTE FUNCTION f()")


# --- a server in trouble -------------------------------------------------------------------------------------


def test_a_server_that_is_down_and_comes_back(own_server: Server) -> None:
    """Down: retryable, at the start and in the middle; the same sink works on when the server is back."""

    async def run() -> None:
        async with sink(own_server.url) as opened:
            await opened.merge([predicted("before")])
            own_server.stop()
            try:
                with pytest.raises(SinkUnavailable, match="the connection is lost"):
                    await opened.merge([predicted("k")])
                with pytest.raises(SinkUnavailable, match=r"does not answer: .*refused"):
                    await opened.merge([predicted("k")])
                with pytest.raises(SinkUnavailable, match="does not answer"):
                    await sink(own_server.url).__aenter__()
            finally:
                own_server.start()
            assert await opened.merge([predicted("k")]) == Merged(rows=1)
            assert (await opened.get("loans", ["before", "k"])).keys() == {"before", "k"}

    asyncio.run(run())


def test_a_hung_server_is_hung_up_on(own_server: Server) -> None:
    """A server that says nothing costs a merge a bounded time, and the event loop none; then all goes on."""

    async def run() -> float:
        async with sink(f"{own_server.url}?timeout_s=0.5&connect_timeout=2") as opened:
            await opened.merge([predicted("before")])
            with own_server.hung():
                started = time.monotonic()
                merging = asyncio.create_task(opened.merge([predicted("k")]))
                beats = 0
                while not merging.done():
                    await asyncio.sleep(0.005)
                    beats += 1
                with pytest.raises(SinkUnavailable, match=r"no answer within 2\.5 s"):
                    await merging
                with pytest.raises(SinkUnavailable, match="does not answer"):
                    await opened.merge([predicted("k")])
                took_s = time.monotonic() - started
            # Of about 500 on an idle machine; none if it were blocked.
            assert beats > 10
            assert await opened.merge([predicted("k")]) == Merged(rows=1)
        return took_s

    # Some five seconds on an idle machine; without a bound it would be for ever.
    assert asyncio.run(run()) < 60


def test_a_worker_that_is_stopped_leaves_a_hung_server(own_server: Server) -> None:
    """A cancelled merge on a server that says nothing lets the sink be closed, in a bounded time."""

    async def run() -> None:
        async with sink(f"{own_server.url}?timeout_s=0.5") as opened:
            await opened.merge([predicted("before")])
            with own_server.hung():
                started = time.monotonic()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(opened.merge([predicted("k")]), 0.1)
                await opened.__aexit__(None, None, None)
                assert time.monotonic() - started < 60
            opened._thread = type(opened._thread)(1)

    asyncio.run(run())


def test_a_locked_row_is_waited_for_and_told(url: str) -> None:
    """A session that does not let a row go is waited for a while; nothing is stored half."""
    merge(url)
    with psycopg.connect(url) as other:
        other.execute("UPDATE records SET version = 'mine' WHERE join_key = 'k'")
        with pytest.raises(SinkUnavailable, match="locked by another session") as raised:
            merge(f"{url}?timeout_s=1", predicted("a"), record({"feedback:f": feedback(a=1)}, "k"))
        other.rollback()
    assert "LockNotAvailable, 55P03" in str(raised.value)
    assert held(url, "a", "k").keys() == {"k"}
    merge(url, predicted("a"), record({"feedback:f": feedback(a=1)}, "k"))
    assert held(url, "a", "k")["k"].status == "joined"


def test_a_slow_statement_is_ended(url: str) -> None:
    """A statement that takes longer than `timeout_s` is ended by the server, and retryable."""
    merge(url)
    trigger(url, "PERFORM pg_sleep(30);")
    with pytest.raises(SinkUnavailable, match=r"did not finish a statement in time.*57014"):
        merge(f"{url}?timeout_s=1", predicted("a"))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("53100", "the disk is full"),
        ("53200", "out of memory"),
        ("57P01", "shutting down"),
        ("58030", "disk or system does not answer"),
        ("XX001", "reports damage"),
        ("42501", "lacks a right"),
        ("99999", "cannot be used now"),
    ],
)
def test_what_is_retryable_is_decided_by_its_code(url: str, code: str, says: str) -> None:
    """A full disk and its like refuse the whole batch for now, whatever their text says; the next try succeeds."""
    merge(url)
    trigger(url, f"RAISE EXCEPTION 'invalid input, duplicate key' USING ERRCODE = '{code}';")
    with pytest.raises(SinkUnavailable, match=says) as raised:
        merge(url, predicted("a"))
    assert "duplicate key" not in str(raised.value)
    sql(url, "DROP TRIGGER t ON records")
    merge(url, predicted("a"))
    assert held(url, "a").keys() == {"a"}


def test_a_read_only_database_is_told(url: str) -> None:
    """A standby, or a database in maintenance: retryable, and `get` still answers."""
    merge(url)
    sql(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    with pytest.raises(SinkUnavailable, match="is read-only; point JOINBACK_SINK_URL to the primary"):
        merge(url, predicted("a"))
    assert held(url, "k").keys() == {"k"}


def test_a_person_may_deadlock_with_it(url: str) -> None:
    """A session that locks rows against the order of keys is ended or waited for; no event of either is lost."""
    merge(url, predicted("a"), predicted("b"))
    batch = [record({"feedback:f": feedback(a=1)}, key) for key in "ab"]

    async def run() -> None:
        async with sink(url) as opened:
            with psycopg.connect(url) as person:
                person.execute("SET deadlock_timeout = '1h'")  # so that the worker is the victim
                person.execute("UPDATE records SET version = 'b' WHERE join_key = 'b'")
                merging = asyncio.create_task(opened.merge(batch))
                await asyncio.to_thread(wait_for, lambda: sql(url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
                await asyncio.to_thread(person.execute, "UPDATE records SET version = 'a' WHERE join_key = 'a'")
                person.commit()
            assert await merging == Merged(rows=2, joined=2)

    asyncio.run(run())
    assert {row.status for row in held(url, "a", "b").values()} == {"joined"}


def test_keys_are_locked_in_their_order(url: str) -> None:
    """A batch that waits for its first key holds no other, in whatever order it names them: no two can deadlock."""
    keys = [f"k{n:02}" for n in range(20)]
    merge(url, *map(predicted, keys))
    batch = [record({"feedback:f": feedback(a=1)}, key) for key in reversed(keys)]

    async def run() -> None:
        async with sink(url) as opened:
            with psycopg.connect(url) as person:
                person.execute("UPDATE records SET version = 'mine' WHERE join_key = 'k00'")
                merging = asyncio.create_task(opened.merge(batch))
                await asyncio.to_thread(wait_for, lambda: sql(url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
                free = sql(url, "SELECT join_key FROM records WHERE join_key <> 'k00' FOR NO KEY UPDATE SKIP LOCKED")
                person.rollback()
            assert sorted(key for (key,) in free) == keys[1:]
            assert await merging == Merged(rows=20, joined=20)

    asyncio.run(run())


def test_a_worker_that_vanished_holds_no_lock(url: str) -> None:
    """A transaction that stands still is ended by the server, and others go on; so is the worker, if it was paused."""
    merge(url)

    async def run() -> None:
        async with sink(f"{url}?timeout_s=1") as paused, sink(url) as other:
            transaction = paused._transaction()
            await paused._run(transaction.__enter__)
            await paused._run(partial(paused._held, "loans", ["k"], ()))
            merged = await other.merge([record({"feedback:f": feedback(a=1)}, "k")])
            assert merged == Merged(rows=1, joined=1)
            with pytest.raises(SinkUnavailable, match=r"stood still|connection is lost"):
                await paused._run(partial(paused._held, "loans", ["k"], ()))

    asyncio.run(run())


class Cut:
    """Ends the sink's session, by `pg_terminate_backend`, before its n-th statement."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        self.calls = 0
        self.at = 0
        self._url = url
        for owner, name in ((Session, "execute"), (Session, "copy"), (psycopg.Transaction, "__exit__")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                sql(
                    self._url,
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'joinback'",
                )
            return original(*arguments, **options)

        return counted


def test_a_connection_lost_at_each_statement(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that ends before any statement of a merge leaves all of it undone; the replay completes it."""
    old = [predicted(key) for key in "ab"]
    merge(url, *old)
    batch = [record({"feedback:f": feedback(a=1)}, key) for key in "ab"] + [predicted(key) for key in "cd"]
    cut = Cut(monkeypatch, url)

    async def run() -> int:
        async with sink(url) as opened:
            while True:
                before = sql(url, "SELECT * FROM records ORDER BY join_key")
                step, cut.at = cut.at + 1, 0
                await opened.get("loans", ["a"])  # connects again
                cut.calls, cut.at = 0, step
                try:
                    await opened.merge(batch)
                except SinkUnavailable:
                    assert sql(url, "SELECT * FROM records ORDER BY join_key") == before
                else:
                    cut.at = 0
                    return step

    steps = asyncio.run(run())
    # Before: the look, the staging table, COPY of the changed, COPY of the new and the end of its savepoint, how to
    # update, the update, the commit; and never.
    assert steps == 9
    wholes = [record({"prediction:p": prediction(), "feedback:f": feedback(a=1)}, key) for key in "ab"] + batch[2:]
    assert held(url, *"abcd") == {whole.join_key: project(whole, POLICY)[0] for whole in wholes}


# --- several writers -----------------------------------------------------------------------------------------


def overtaking(opened: PostgresSink, first: Sequence[Callable[[], None]]) -> None:
    """Before its n-th insert, somebody else does the n-th of these."""
    original = opened._insert
    left = list(first)

    def insert(rows: Iterator[Row]) -> bool:
        if left:
            left.pop(0)()
        return original(rows)

    opened._insert = insert  # type: ignore[method-assign]


def test_a_key_inserted_in_between_is_merged(url: str) -> None:
    """Whoever comes between the look and the insert, once or twice, loses nothing and is not lost.

    Nor does the merge lose what it has done of the other keys: it goes on in the same transaction.
    """
    batch = [record({"feedback:mine": feedback(a=1)}, key) for key in "abc"]

    async def run() -> None:
        async with sink(url) as opened:
            overtaking(opened, [partial(merge, url, predicted(key)) for key in "ba"])
            begun = []
            original = opened._transaction
            opened._transaction = lambda: begun.append(1) or original()  # type: ignore[func-returns-value, method-assign]
            assert await opened.merge(batch) == Merged(rows=3, joined=2, orphans=1)
            assert len(begun) == 1
            assert await opened.merge([record({"feedback:late": feedback(a=2)}, "d")]) == Merged(rows=1, orphans=1)

    asyncio.run(run())
    assert {key: row.status for key, row in held(url, *"abcd").items()} == {
        "a": "joined",
        "b": "joined",
        "c": "orphan",
        "d": "orphan",
    }
    assert dict(sql(url, "SELECT join_key, row_version FROM records")) == {"a": 2, "b": 2, "c": 1, "d": 1}


def test_a_key_inserted_and_locked_in_between(url: str) -> None:
    """Out of the order of the keys no lock is waited for: the merge lets all go, and begins anew."""
    batch = [record({"feedback:mine": feedback(a=1)}, key) for key in "abc"]

    async def run() -> None:
        async with sink(url) as opened:
            with psycopg.connect(url) as person:

                def insert_and_lock() -> None:
                    merge(url, predicted("b"))
                    person.execute("SELECT FROM records WHERE join_key = 'b' FOR UPDATE")

                overtaking(opened, [insert_and_lock])
                merging = asyncio.create_task(opened.merge(batch))
                await asyncio.to_thread(wait_for, lambda: sql(url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
                # It has begun anew, so "a" is nobody's.
                insert = (
                    "INSERT INTO records (application, join_key, status, clock_skew) VALUES ('loans', 'a', '', false)"
                )
                sql(url, insert)
                sql(url, "DELETE FROM records WHERE join_key = 'a'")
                person.rollback()
            assert await merging == Merged(rows=3, joined=1, orphans=2)

    asyncio.run(run())
    assert dict(sql(url, "SELECT join_key, row_version FROM records")) == {"a": 1, "b": 2, "c": 1}


def test_an_insert_in_between_and_an_update_share_a_batch(url: str) -> None:
    """A batch that was overtaken at one of its new rows writes the held ones once."""
    merge(url, predicted("a"))

    async def run() -> None:
        async with sink(url) as opened:
            overtaking(opened, [partial(merge, url, predicted("b"))])
            batch = [record({"feedback:f": feedback(a=1)}, key) for key in "abc"]
            assert await opened.merge(batch) == Merged(rows=3, joined=2, orphans=1)

    asyncio.run(run())
    assert dict(sql(url, "SELECT join_key, row_version FROM records")) == {"a": 2, "b": 2, "c": 1}


def test_an_index_that_somebody_added_refuses_rows(url: str) -> None:
    """Rows against a unique index of somebody else are refused, not tried for ever."""
    merge(url)
    sql(url, "CREATE UNIQUE INDEX one_each ON records (version)")
    merge(url, predicted("a", version="1"))
    with pytest.raises(SinkRefused, match="refused the rows by 'one_each': UniqueViolation, 23505"):
        merge(url, predicted("b", version="1"))
    with pytest.raises(SinkRefused, match="one_each"):
        merge(url, record({"prediction:early": prediction(-5, version="1")}, "k"))
    assert held(url, "a", "b", "k").keys() == {"a", "k"}


def test_new_keys_from_many_writers_at_once(url: str) -> None:
    """Writers that insert the same new keys in any order end with the union, without a deadlock."""

    async def run() -> None:
        async with sink(url) as a, sink(url) as b, sink(url) as c:
            for turn in range(3):
                keys = [f"{turn}_{n}" for n in range(60)]
                batches = [
                    [record({f"feedback:{writer}": feedback(n, **{writer: turn})}, key) for key in order]
                    for n, (writer, order) in enumerate(
                        {"a": keys, "b": keys[::-1], "c": keys[30:] + keys[:30]}.items()
                    )
                ]
                await asyncio.gather(*(opened.merge(batch) for opened, batch in zip((a, b, c), batches, strict=True)))

    held(url)
    trigger(url, "PERFORM pg_sleep(0.001);", "BEFORE INSERT")  # so that they meet
    before = shared_server().log().count("deadlock detected")
    asyncio.run(run())
    assert shared_server().log().count("deadlock detected") == before
    found = sql(url, "SELECT feedback FROM records")
    assert len(found) == 180
    assert all(values.keys() == {"a", "b", "c"} for (values,) in found)


def test_the_databases_defaults_do_not_matter(url: str) -> None:
    """Serializable by default, asynchronous commits, another time zone: merges lose nothing and are durable."""
    name = url.rpartition("/")[2]
    for setting in (
        "default_transaction_isolation = 'serializable'",
        "synchronous_commit = 'off'",
        "timezone = 'Asia/Kolkata'",
        "datestyle = 'German'",
        "standard_conforming_strings = 'off'",
    ):
        sql(url, f"ALTER DATABASE {name} SET {setting}")
    merge(url)
    sql(url, "CREATE TABLE seen (commits text, isolation text)")
    seen = "current_setting('synchronous_commit'), current_setting('transaction_isolation')"
    trigger(url, f"INSERT INTO seen VALUES ({seen});")

    async def run() -> None:
        async with sink(url) as a, sink(url) as b:
            for turn in range(10):
                batches = [[record({f"feedback:{w}{turn}": feedback(turn, **{w: 1})}, "k")] for w in "ab"]
                await asyncio.gather(a.merge(batches[0]), b.merge(batches[1]))

    asyncio.run(run())
    row = held(url, "k")["k"]
    assert len(msgspec.json.decode(row.feedback_events or b"")) == 20
    assert row.predicted_at == at(0)
    assert sql(url, "SELECT DISTINCT * FROM seen") == [("on", "read committed")]


def test_a_pooler_may_change_the_session(url: str) -> None:
    """Nothing is left in a session and nothing is expected of one: a pooler may reset it after each transaction."""

    async def run() -> None:
        async with sink(url) as opened:
            for turn in range(3):
                batch = [record({f"feedback:{turn}": feedback(turn, a=turn)}, "k"), predicted(f"new{turn}")]
                await opened.merge(batch)
                settings = opened._session.execute(
                    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
                    " (SELECT count(*) FROM pg_prepared_statements)"
                ).fetchall()
                assert settings == [("0", "0", 0)]
                opened._session.execute("DISCARD ALL")

    asyncio.run(run())
    assert len(held(url, "k", "new0", "new1", "new2")) == 4


# --- what cannot be stored -----------------------------------------------------------------------------------


def raw(field: str, event: bytes, old: str, new: str) -> dict[str, bytes]:
    """An event whose bytes no encoder of ours would write."""
    changed = event.replace(old.encode(), new.encode())
    assert changed != event
    return {field: changed}


REFUSED = {
    "a NUL in the key": (lambda: predicted("a\0b"), "NUL"),
    "a NUL in the version": (lambda: predicted("bad", version="1\0"), "NUL"),
    "an escaped NUL": (lambda: predicted("bad", inputs={"x": "\0"}), r"\\u0000"),
    "an escaped NUL behind a backslash": (lambda: predicted("bad", inputs={"x": "\\\0"}), r"\\u0000"),
    "in feedback that was taken back": (
        lambda: record({"feedback:f": feedback(a={"\0": 1}), "retraction:r": retraction()}, "bad"),
        r"\\u0000",
    ),
    "a number beyond numeric": (
        lambda: record(raw("prediction:p", prediction(outputs=17), "17", "1e200000"), "bad"),
        "NumericValueOutOfRange, 22003",
    ),
    "a key beyond an index entry": (
        lambda: predicted("".join(chr(0x4E00 + n * 7 % 20_000) for n in range(6_000))),
        "54000",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_postgresql_cannot_hold_is_refused(url: str, name: str) -> None:
    """Such a record is refused with its reason, and nothing of its batch is stored; nothing is altered to fit."""
    bad, says = REFUSED[name]
    merge(url)
    with pytest.raises(SinkRefused, match=says):
        merge(url, predicted("a"), bad(), predicted("z"))
    assert held(url, "a", "z", "k", bad().join_key).keys() == {"k"}
    assert merge(url, predicted("a"), predicted("z")) == Merged(rows=2)


def test_a_cell_that_is_too_large_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More JSON than jsonb holds is refused before it is sent: the server would hang up, again and again."""
    monkeypatch.setattr(postgres_table, "CELL_BYTES_MAX", 10_000)
    history = {f"feedback:{n}": feedback(n, a="x" * 5_000) for n in range(2)}
    with pytest.raises(SinkRefused, match="10,000 at most"):
        merge(url, predicted("a"), record(history, "bad"))
    assert merge(url, predicted("a"), predicted("b", inputs="x" * 9_000)) == Merged(rows=2)


def test_what_only_looks_unstorable_is_stored(url: str) -> None:
    r"""A backslash before `u0000`, a whole surrogate pair and other escapes are text like any other."""
    odd = [{"x": r"\u0000"}, {"x": "\\\\u0000"}, {"x": "\x01\x1f\\"}]
    pair = record(raw("prediction:p", prediction(outputs="here"), "here", r"\ud83d\ude00\u00e9"), "pair")
    merge(url, pair, *(predicted(f"k{n}", inputs=inputs) for n, inputs in enumerate(odd)))
    rows = dict(sql(url, "SELECT join_key, inputs FROM records"))
    assert [rows[f"k{n}"] for n in range(3)] == odd
    assert sql(url, "SELECT outputs #>> '{}' FROM records WHERE join_key = 'pair'") == [("😀é",)]


def test_poison_rows_become_dead_letters(stack: Any, url: str) -> None:
    """In a drain, records that PostgreSQL cannot hold are bisected out with their reason; the others are rows."""
    for n in range(20):
        stack.client.log_record("loans", inputs={"x": "\0" if n in (3, 11) else n}, outputs=n, join_key=f"k{n}")
    drained = stack.drain(sink_url=url)
    assert (drained.rows, drained.dead, drained.error) == (18, 2, None)
    assert {letter["key"]: letter["reason"] for letter in stack.dead()} == {"k3": "sink_refused", "k11": "sink_refused"}
    assert all("cannot hold the character" in letter["detail"] for letter in stack.dead())
    assert len(sql(url, "SELECT 1 FROM records")) == 18


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("feedback_events", "'\"see ticket 12\"'", "feedback_events"),
        ("feedback_events", "'{\"feedback:f\":5}'", "feedback_events"),
        ("conflicts", "'[]'", "conflicts"),
        ("predicted_at", "NULL", "predicted_at"),
        ("predicted_at", "'infinity'", "of type timestamptz"),
        ("logged_at", "NULL", "logged_at"),
        ("prediction", "NULL", "inputs"),
        ("prediction_event_id", "NULL", "prediction_event_id"),
    ],
)
def test_an_edited_cell_costs_its_own_row_only(stack: Any, url: str, column: str, value: str, named: str) -> None:
    """The other twenty rows are written; the label's letter names the column, and the edited row is as it was."""
    stack.client.log_record("loans", inputs=1, outputs=2, feedback={"a": 1}, join_key="edited", event_id="e")
    assert stack.drain(sink_url=url).joined == 1
    sql(url, f"UPDATE records SET {column} = {value}")
    stack.server.hdel(stack.record("edited"), "prediction:e", "feedback:e")
    stack.client.log_record("loans", feedback={"a": 2}, join_key="edited")
    for n in range(20):
        stack.client.log_record("loans", inputs=n, outputs=n, join_key=f"k{n}")
    drained = stack.drain(sink_url=url)
    assert (drained.rows, drained.dead, drained.error) == (20, 1, None)
    (letter,) = stack.dead()
    assert letter["reason"] == "sink_refused"
    assert f"column {named}" in letter["detail"]
    assert sql(url, "SELECT count(*) FROM records WHERE row_version = 1") == [(21,)]


def test_edited_rows_that_mature_stop_no_others(stack: Any, url: str) -> None:
    """A row that cannot be read cannot be closed; the others are, and it is told."""
    for n in range(30):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=f"k{n}", timestamp=at(-9_999_999))
    stack.drain(sink_url=url)
    sql(url, "UPDATE records SET prediction = NULL WHERE join_key IN ('k3', 'k17')")
    drained = stack.drain({"loans": {"maturity_s": 3_600}}, sink_url=url)
    assert drained.error is not None
    assert drained.error.startswith("2 matured rows cannot be written, 28 were written")
    assert sql(url, "SELECT count(*) FROM records WHERE status = 'unlabelled'") == [(28,)]


# --- JSON ----------------------------------------------------------------------------------------------------

AWKWARD = r'{"bb":1.0,"a":1e3,"a":[1E+2,-0.0,0.10,1e23,1e400,12345678901234567890123],"é":"\u00e9\/"}'


def test_json_is_kept_as_it_was_logged(url: str) -> None:
    """Jsonb sorts keys and rewrites numbers; a repeated event is the same event all the same, and changes nothing."""
    events = (
        raw("prediction:p", prediction(inputs="here", tags={"t": "here"}), '"here"', AWKWARD)
        | raw("prediction:q", prediction(5, outputs="here"), '"here"', AWKWARD)
        | raw("feedback:f", feedback(a="here", b="here"), '"here"', AWKWARD)
    )
    whole = record(events)
    for _ in range(3):
        assert merge(url, whole) == Merged(rows=1, joined=1, conflicts=1)
    assert sql(url, "SELECT row_version FROM records") == [(1,)]
    row, want = held(url, "k")["k"], project(whole, POLICY)[0]
    assert (row.inputs, row.outputs, row.tags) == (want.inputs, want.outputs, want.tags)
    assert (row.feedback_events, row.conflicts) == (want.feedback_events, want.conflicts)
    ((inputs,),) = sql(url, "SELECT inputs::text FROM records")
    assert inputs.startswith('{"a": [100, 0.0, 0.10, 100000000000000000000000, 1000')
    merge(url, record({"feedback:g": feedback(90, c=1)}))
    assert sql(url, "SELECT row_version, feedback -> 'a' ->> 'bb' FROM records") == [(2, "1.0")]


def test_feedback_that_changes_its_type_is_written(url: str) -> None:
    """A new reducer that makes 1 of true changes the row; one that gives the same number in another form does not."""
    whole = record({"prediction:p": prediction(), "feedback:f": feedback(ok=True, n=2.50)})

    async def under(**reducers: Any) -> None:
        async with sink(url, policy(**reducing(**reducers))) as opened:
            await opened.merge([whole])

    for reducers, version in (({}, 1), ({"n": "sum"}, 1), ({"ok": "sum"}, 2), ({"ok": "sum"}, 2)):
        asyncio.run(under(**reducers))
        assert sql(url, "SELECT row_version FROM records") == [(version,)], reducers


def test_two_events_under_one_id(url: str) -> None:
    """Of two predictions under one event id the same one counts, whoever came first."""
    a, b = (
        raw("prediction:p", prediction(outputs="here"), '"here"', text) for text in ('{"b":1,"a":2}', '{"a":2,"b":1}')
    )
    for key, (first, second) in {"k0": (a, b), "k1": (b, a)}.items():
        merge(url, record(first, key))
        merge(url, record(second, key))
    rows = held(url, "k0", "k1")
    assert rows["k0"].outputs == rows["k1"].outputs


def test_the_ends_of_time(url: str) -> None:
    """Event times of the years 1 and 9999 come back to the microsecond."""
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    merge(url, *(predicted(str(time.year), at=time, logged_at=time) for time in (first, last)))
    assert {row.predicted_at for row in held(url, "1", "9999").values()} == {first, last}


# --- the schema ----------------------------------------------------------------------------------------------


def test_workers_that_start_at_once(url: str) -> None:
    """Several workers on an empty database make one schema, each migration once."""

    async def run() -> None:
        sinks = [sink(url) for _ in range(6)]
        await asyncio.gather(*(opened.__aenter__() for opened in sinks))
        await asyncio.gather(*(opened.merge([predicted(f"k{n}")]) for n, opened in enumerate(sinks)))
        await asyncio.gather(*(opened.__aexit__(None, None, None) for opened in sinks))

    asyncio.run(run())
    assert sql(url, "SELECT number FROM joinback_migrations ORDER BY 1") == [(1,), (2,)]
    assert len(sql(url, "SELECT 1 FROM records")) == 6


@pytest.mark.parametrize(
    ("statement", "says", "mend"),
    [
        ("ALTER TABLE records DROP COLUMN outputs", "no column 'outputs'; add it again, as jsonb", "ADD outputs jsonb"),
        ("ALTER TABLE records RENAME inputs TO x", "no column 'inputs'", "RENAME x TO inputs"),
        (
            "ALTER TABLE records ALTER version TYPE integer USING 1",
            "column 'version' of `records` is integer; make it text again",
            "ALTER version TYPE text",
        ),
        (
            "ALTER TABLE records ADD owner text NOT NULL",
            "column 'owner' .* give it a default",
            "ALTER owner SET DEFAULT ''",
        ),
        (
            "ALTER TABLE records DROP CONSTRAINT records_pkey",
            "lost its primary key",
            "ADD PRIMARY KEY (application, join_key)",
        ),
        ("ALTER TABLE records RENAME TO mine", "lost its table `records`; restore it", None),
    ],
)
def test_a_table_somebody_altered_is_told(url: str, statement: str, says: str, mend: str | None) -> None:
    """A table that does not fit stops the drain with a line that names the column, and once mended all goes on."""
    merge(url, predicted("held"))
    sql(url, "TRUNCATE records")
    sql(url, statement)
    merge_both = partial(merge, url, predicted("a"))
    with pytest.raises(SinkUnavailable, match=says):
        merge_both()
    sql(url, f"ALTER TABLE records {mend}" if mend else "ALTER TABLE mine RENAME TO records")
    merge_both()


@pytest.mark.parametrize(
    "how", ["DROP COLUMN version", "ALTER version TYPE integer USING 1", "ADD x text NOT NULL", "RENAME TO mine"]
)
def test_a_table_altered_meanwhile_is_told(url: str, how: str) -> None:
    """An alteration between two merges of one worker is retryable as well: no row is to blame for it."""

    async def run() -> None:
        async with sink(url) as opened:
            await opened.get("loans", ["k"])
            sql(url, f"ALTER TABLE records {how}")
            with pytest.raises(SinkUnavailable):
                await opened.merge([predicted("a", version="one")])

    asyncio.run(run())


def test_columns_and_indexes_may_be_added(url: str) -> None:
    """A column of somebody else, nullable or with a default, and further indexes are left alone."""
    merge(url)
    sql(url, "ALTER TABLE records ADD note text, ADD seen_at timestamptz NOT NULL DEFAULT now()")
    sql(url, "CREATE INDEX ON records USING gin (inputs)")
    merge(url, predicted("a"), record({"feedback:f": feedback(a=1)}, "k"))
    assert held(url, "a", "k").keys() == {"a", "k"}


def test_a_newer_schema_is_not_touched(url: str) -> None:
    """A database that a later worker migrated is left alone."""
    merge(url)
    sql(url, "INSERT INTO joinback_migrations (number) VALUES (99)")
    with pytest.raises(SinkUnavailable, match=r"schema 99 is newer than this worker's .*; upgrade the worker"):
        merge(url)
    session = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'joinback' AND datname = current_database()"
    wait_for(lambda: not sql(url, session))


def test_a_table_of_somebody_else_is_not_taken(url: str) -> None:
    """A table `records` that is not the worker's is left alone; a schema of its own is one option away."""
    sql(url, "CREATE TABLE records (title text)")
    with pytest.raises(SinkUnavailable, match="give the worker a schema of its own"):
        merge(url)
    assert sql(url, "SELECT to_regclass('joinback_migrations')") == [(None,)]
    sql(url, "CREATE SCHEMA joinback")
    merge(f"{url}?options=-csearch_path%3Djoinback")
    assert sql(url, "SELECT join_key FROM joinback.records") == [("k",)]


def test_the_printed_schema_and_the_least_rights(stack: Any, url: str) -> None:
    """What `joinback sink schema` prints runs in psql, twice; a role with no more than its grants drains and erases."""
    name = url.rpartition("/")[2]
    sql(url, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    sql(url, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for _ in range(2):
        shared_server().psql(url, SCHEMA)
    role = f"worker_{name}"
    sql(url, f"CREATE ROLE {role} LOGIN IN ROLE joinback_worker")
    as_role = url.replace("postgres@", f"{role}@")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="k")
    assert stack.drain(sink_url=as_role).rows == 1
    stack.client.log_record("loans", feedback={"ok": True}, join_key="k")
    drained = stack.drain({"loans": {"maturity_s": 1}}, sink_url=as_role)
    assert (drained.rows, drained.joined, drained.error) == (1, 1, None)
    assert sql(url, "SELECT status, row_version FROM records") == [("joined", 2)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sql(as_role, "TRUNCATE records")
    sql(url, "REVOKE UPDATE ON records FROM joinback_worker")
    stack.client.log_record("loans", feedback={"ok": False}, join_key="k")
    assert "lacks a right" in stack.drain(sink_url=as_role).error
    sql(url, "GRANT UPDATE ON records TO joinback_worker")
    assert stack.drain(sink_url=as_role).rows == 1
    sql(url, "REVOKE DELETE ON records FROM joinback_worker")
    with pytest.raises(SinkUnavailable, match="lacks a right; `joinback sink schema` prints the grants"):
        erase(as_role, "k")
    sql(url, "GRANT DELETE ON records TO joinback_worker")
    assert erase(as_role, "k") == 1
    sql(url, f"DROP OWNED BY joinback_worker; DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_schema_that_is_older_and_a_role_that_may_not_change_it(url: str) -> None:
    """Without the right to migrate, the worker says what to run."""
    sql(url, "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC")
    role = f"poor_{url.rpartition('/')[2]}"
    sql(url, f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(SinkUnavailable, match=r"lacks a right; .*`joinback sink schema`"):
            merge(url.replace("postgres@", f"{role}@"))
    finally:
        sql(url, f"DROP ROLE {role}")


def test_a_schema_that_somebody_forbids(url: str) -> None:
    """An event trigger that refuses the tables is told and tried again; it is no fault of any row."""
    raises = "BEGIN RAISE EXCEPTION 'ask first'; END"
    sql(url, f"CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ {raises} $$")
    sql(url, "CREATE EVENT TRIGGER t ON ddl_command_start WHEN tag IN ('CREATE TABLE') EXECUTE FUNCTION no()")
    with pytest.raises(SinkUnavailable, match="the schema cannot be made"):
        merge(url)
    sql(url, "DROP EVENT TRIGGER t")
    merge(url)


def test_another_encoding_is_told() -> None:
    """A database that cannot hold every text is told before any row is refused for it."""
    with (
        fresh_database("ENCODING 'LATIN1' LOCALE 'C'") as url,
        pytest.raises(SinkUnavailable, match="encoding is LATIN1"),
    ):
        merge(url)


# --- URLs and secrets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/db?timeout_s=soon",
        "postgresql://u:hunter2@h/db?timeout_s=0",
        "postgresql://u:hunter2@h/db?timeout_s=nan",
        "postgresql://u:hunter2@h/db?sslmod=require",
        "postgresql://u:%zzhunter2@h/db",
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str) -> None:
    """An option nobody knows, or a URL that is none, is a ConfigurationError; it never shows the password."""
    with pytest.raises(ConfigurationError, match="JOINBACK_SINK_URL") as raised:
        open_sink(url, POLICY)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_wrong_password_is_told_without_it() -> None:
    """Who is not let in reads why, with host and database, and without the password."""
    server = shared_server()
    sql(server.url, "CREATE ROLE locked LOGIN PASSWORD 'right'")
    try:
        with pytest.raises(
            SinkUnavailable, match=f"127.0.0.1:{server.port}/postgres: refuses the connection: pass"
        ) as raised:
            merge(server.url.replace("postgres@", "locked:hunter2@"))
    finally:
        sql(server.url, "DROP ROLE locked")
    assert "hunter2" not in str(raised.value)


def test_no_such_database_is_told(url: str) -> None:
    """A database that is not there is told in the server's words, and retryable."""
    with pytest.raises(SinkUnavailable, match='refuses the connection: database "nowhere" does not exist'):
        merge(url.rpartition("/")[0] + "/nowhere")


# --- what people ask -----------------------------------------------------------------------------------------


def test_the_first_query_of_an_ml_engineer(url: str) -> None:
    """Accuracy by day and version, and percentiles of the labels' delay, in one query each."""
    day_s = 86_400
    served = [
        (0, "1", 0.9, True, 60),
        (1, "1", 0.8, False, 120),
        (2, "2", 0.1, False, 180),
        (day_s, "2", 0.7, True, 240),
        (day_s + 1, "2", 0.2, None, 0),
    ]
    merge(
        url,
        *(
            record(
                {"prediction:p": prediction(seconds, version=version, outputs={"default": score})}
                | ({} if label is None else {"feedback:f": feedback(seconds + delay_s, defaulted=label)}),
                f"k{n}",
            )
            for n, (seconds, version, score, label, delay_s) in enumerate(served)
        ),
    )
    accuracy = """
        SELECT predicted_at::date::text AS day, version, count(*) AS labelled,
            avg((((outputs ->> 'default')::float8 > 0.5) = (feedback -> 'defaulted')::bool)::int)::float8 AS accuracy
        FROM records WHERE application = 'loans' AND status = 'joined' GROUP BY day, version ORDER BY day, version
    """
    assert sql(url, accuracy) == [
        ("2026-11-23", "1", 2, 0.5),
        ("2026-11-23", "2", 1, 1.0),
        ("2026-11-24", "2", 1, 1.0),
    ]
    delays = """
        SELECT percentile_cont(ARRAY[0.5, 1]) WITHIN GROUP (ORDER BY feedback_delay_s) FROM records
        WHERE inputs @> '{"a": 1}'
    """
    assert sql(url, delays) == [([150.0, 240.0],)]
    history = """
        SELECT join_key, e.key FROM records, json_each(feedback_events) AS e
        WHERE (e.value -> 'feedback' ->> 'defaulted')::bool ORDER BY 1
    """
    assert sql(url, history) == [("k0", "feedback:f"), ("k3", "feedback:f")]


def test_keys_and_matured_rows_are_found_by_an_index(url: str) -> None:
    """Neither a merge nor the closing of rows reads the table, analyzed or not."""
    merge(url, *(predicted(f"k{n}") for n in range(3_000)))
    keys, whole = (msgspec.json.encode([f"{kind}{n}" for n in range(1_000)]).decode() for kind in "xw")
    for analyzed in (False, True):
        if analyzed:
            sql(url, "ANALYZE records")
        question = "EXPLAIN " + postgres_table.SELECT_HELD
        plan = "\n".join(line for (line,) in sql(url, question, keys, whole, "loans"))
        assert "Index Scan using records_pkey" in plan, plan
        assert "Join" not in plan
    with psycopg.connect(url) as connection:
        for statement in (postgres_table.CREATE_FEEDBACK, postgres_table.BY_PLACE):
            connection.execute(statement.encode())
        found = connection.execute(f"EXPLAIN {postgres_table.UPDATE_FEEDBACK}".encode()).fetchall()
    plan = "\n".join(line for (line,) in found)
    assert "Tid Scan on records" in plan, plan
    with psycopg.connect(url) as connection:
        parameters = {"application": "loans", "before": at(-1), "limit": 1_000}
        found = connection.execute(("EXPLAIN " + postgres_table.MATURED).encode(), parameters).fetchall()
    plan = "\n".join(line for (line,) in found)
    assert "records_maturing" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_a_constraint_against_closing_is_told(url: str) -> None:
    """Rows that somebody's constraint keeps from being closed are told and tried again; no event is buried for it."""
    merge(url)
    sql(url, "ALTER TABLE records ADD CONSTRAINT open CHECK (status <> 'unlabelled')")

    async def close() -> int:
        async with sink(url, policy(at(1_010), maturity_s=1_000)) as opened:
            return await opened.close_matured("loans")

    with pytest.raises(SinkUnavailable, match=r"cannot be written, 0 were written: .*'open'"):
        asyncio.run(close())
    sql(url, "ALTER TABLE records DROP CONSTRAINT open")
    assert asyncio.run(close()) == 1
