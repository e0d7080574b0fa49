"""The ClickHouse sink: over HTTP to the true engine, its tables in trouble, and what merges of parts change."""

import asyncio
import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from clickhouse_connect import get_client
from clickhouse_http import PASSWORD, USER, clickhouse_http
from engines import ENGINES
from events import feedback, prediction, record, retraction
from loans import loans
from ruled import policy, reducing

from joinback.settings import Settings
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Merged, clickhouse, clickhouse_schema, clickhouse_url, open_sink

pytestmark = pytest.mark.heavy

POLICY = Policy()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ENGINES["clickhouse"].place(tmp_path) as url:
        yield url


def put(url: str, *batches: list[Record], policy: Policy = POLICY) -> list[Merged]:
    async def run() -> list[Merged]:
        async with open_sink(url, policy) as sink:
            return [await sink.merge(batch) for batch in batches]

    return asyncio.run(run())


def command(url: str, *statements: str) -> Any:
    with closing(get_client(interface="chdb", path=url.removeprefix("chdb:///"))) as client:
        return [client.query(statement).result_rows for statement in statements]


def test_over_http(tmp_path: Path) -> None:
    """A server with a login is written to and read from over HTTP, with a password of any characters."""
    with clickhouse_http(tmp_path / "chdb") as server:
        where = f"{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.server_port}/default"

        async def run() -> None:
            async with open_sink(f"clickhouse://{where}", POLICY) as sink:
                assert await sink.merge(loans()) == await sink.merge(loans())
                # A look-up of more keys than a URL holds.
                rows = await sink.get("loans", [f"loan_{n}" + "\x01'" * 200 * (n > 600) for n in range(1_500)])
                assert len(rows) == 600
                (late,) = [Record(application="loans", join_key="loan_1", feedback=loans()[0].feedback)]
                assert (await sink.merge([late])).joined == 1

        asyncio.run(run())
        assert sum(b"INSERT INTO" in query and b"events" in query for query in server.queries) == 3
        with pytest.raises(SinkUnavailable, match="refused the login; check JOINBACK_SINK_URL") as raised:
            put(f"clickhouse://{USER}:wrong@127.0.0.1:{server.server_port}/default", loans())
        assert "wrong" not in str(raised.value)


def test_an_insert_is_stored_when_it_is_answered(tmp_path: Path) -> None:
    """Whatever the user's profile says of queued inserts, each of ours asks for none, and waits."""
    with clickhouse_http(tmp_path / "chdb") as server:
        put(f"clickhouse://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.server_port}/default", loans()[:3])
        inserts = [given for given, query in server.given if b"INSERT INTO" in query and b"migrations" not in query]
        assert len(inserts) == 2  # the policy, and the events
        assert {(given.get("async_insert"), given.get("wait_for_async_insert")) for given in inserts} == {("0", "1")}


HOLD = """
import sys
from clickhouse_connect import get_client
client = get_client(interface="chdb", path=sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_holds(url: str) -> None:
    """ChDB's folder takes one process at a time: another one is told so, and acknowledges nothing."""
    path = url.removeprefix("chdb:///")
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SinkUnavailable, match="only one process at a time can use it"):
            put(url, loans()[:1])
        holder.communicate(b"")
    assert put(url, loans()[:1])[0].rows == 1


def test_nobody_listens() -> None:
    """A server that is down is told in one line, without the password, and may be tried again."""
    with pytest.raises(SinkUnavailable, match="does not answer; check that it runs") as raised:
        put(f"clickhouse://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:1/default", loans())
    assert PASSWORD not in str(raised.value)


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and answers nothing is given up after a bounded time."""
    monkeypatch.setattr(clickhouse_url, "CONNECT_TIMEOUT_S", 1)
    monkeypatch.setattr(clickhouse_url, "ANSWER_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SinkUnavailable, match="does not answer"):
        put(f"clickhouse://127.0.0.1:{silent.getsockname()[1]}/default", loans())


PARTS = [
    {"prediction:p": prediction(0, version="1"), "feedback:f": feedback(10, a=1)},
    {"feedback:g": feedback(20, a=2, b=3), "prediction:q": prediction(-5, version="2")},
    {"retraction:r": retraction(15, ["a"])},
    {"feedback:h": feedback(12, a=7, c=None), "feedback:g": feedback(20, a=2, b=3)},
]


def test_no_order_of_inserts_and_merges_changes_a_row(url: str) -> None:
    """All 24 orders of four batches, each repeated, parts merged in between or not, are one and the same row."""
    seen: list[Any] = []
    for number, order in enumerate(itertools.permutations(PARTS)):
        key = f"k{number}"
        put(url, *([record(part, key)] for part in order), [record(order[0], key)])
        if number % 3 == 0:
            command(url, "OPTIMIZE TABLE events FINAL")
    query = "SELECT * EXCEPT (join_key, updated_at) FROM records"
    before, _, after = command(url, query, "OPTIMIZE TABLE events FINAL", query)
    seen = [*before, *after]
    assert len(seen) == 48
    assert all(row == seen[0] for row in seen)


def test_repeated_rows_vanish_when_parts_are_merged(url: str) -> None:
    """A batch written three times is on disk once after a merge of parts."""
    put(url, loans(), loans(), loans())
    events = sum(len(r.predictions) + len(r.feedback) for r in loans())
    (many,), _, (few,) = command(
        url, "SELECT count() FROM events", "OPTIMIZE TABLE events FINAL", "SELECT count() FROM events"
    )
    assert (many, few) == ((3 * events,), (events,))


def test_a_batch_is_one_part(url: str) -> None:
    """A batch of thousands becomes visible at once, since it is one part of an unpartitioned table."""
    put(url, [record({"prediction:p": prediction(n)}, f"k{n}") for n in range(20_000)])
    (parts,) = command(url, "SELECT rows FROM system.parts WHERE table = 'events' AND active")
    assert parts == [(20_000,)]


@pytest.mark.parametrize(
    ("break_it", "says", "mend_it"),
    [
        (
            "ALTER TABLE events DROP COLUMN sample_rate",
            "column sample_rate of table events is missing",
            "ALTER TABLE events ADD COLUMN sample_rate Nullable(Float64)",
        ),
        (
            "ALTER TABLE events MODIFY COLUMN ordered_at_us Int32",
            "column ordered_at_us of table events is Int32, not Int64",
            "ALTER TABLE events MODIFY COLUMN ordered_at_us Int64",
        ),
        ("RENAME TABLE events TO mine", "column application of table events is missing", "RENAME TABLE mine TO events"),
        (
            "INSERT INTO joinback_migrations VALUES (99, now64(6))",
            "schema 99 is newer than this worker's; upgrade the worker",
            "ALTER TABLE joinback_migrations DELETE WHERE number = 99 SETTINGS mutations_sync = 1",
        ),
    ],
    ids=["dropped", "retyped", "renamed", "newer"],
)
def test_a_table_in_trouble(url: str, break_it: str, says: str, mend_it: str) -> None:
    """What somebody did to the table is told by name, nothing is written meanwhile, and mending it is enough."""
    put(url, loans()[:10])
    command(url, break_it)
    with pytest.raises(SinkUnavailable, match=says):
        put(url, loans())
    command(url, mend_it)
    put(url, loans())
    assert len(ENGINES["clickhouse"].rows(url)) == 600


def test_a_table_that_goes_while_the_sink_is_open(url: str) -> None:
    """A table dropped between two batches is an error that may pass, not a refusal of the rows."""

    async def run() -> None:
        async with open_sink(url, POLICY) as sink:
            await sink.merge(loans()[:10])
            command(url, "DROP TABLE events SYNC")
            with suppress(AssertionError):
                await sink.merge(loans()[:10])

    with pytest.raises(SinkUnavailable, match="a table of the sink is gone"):
        asyncio.run(run())


def test_the_average_of_many_times(url: str) -> None:
    """`event_at` averages well over as many events as there are; `ordered_at_us` wraps, as the document says."""
    put(url, loans()[:1])
    many = "SELECT e.* REPLACE (toString(number) AS event_id) FROM events AS e CROSS JOIN numbers(6000) AS n"
    right, wrong = "avg(event_at) BETWEEN min(event_at) AND max(event_at)", "avg(ordered_at_us) < 0"
    averages = f"SELECT {right}, {wrong} FROM events WHERE kind = 'prediction'"
    ((well, wraps),) = command(url, f"INSERT INTO events {many}", averages)[1]
    assert well
    assert wraps


def test_a_row_against_a_constraint_is_refused(url: str) -> None:
    """A constraint that somebody added refuses the rows against it, and only the batch that has one."""
    put(url, loans()[:1])
    command(url, "ALTER TABLE events ADD CONSTRAINT known CHECK join_key != 'loan_7'")
    with pytest.raises(SinkRefused, match="VIOLATED_CONSTRAINT"):
        put(url, loans()[:10])
    put(url, loans()[:7], loans()[8:])
    assert len(ENGINES["clickhouse"].rows(url)) == 599


def test_the_policy_of_each_application(url: str) -> None:
    """The view folds by what each application's worker was told last."""
    sums = policy(**reducing(a="sum"))
    events = {"prediction:p": prediction(), "feedback:f": feedback(1, a=1), "feedback:g": feedback(2, a=2)}
    put(url, [record(events)], policy=sums)
    other = record(events)
    other.application = "ads"
    put(url, [other])
    (rows,) = command(url, "SELECT application, feedback FROM records ORDER BY application")
    assert rows == [("ads", '{"a":2}'), ("loans", '{"a":3}')]
    put(url, [record(events)])
    (rows,) = command(url, "SELECT feedback FROM records WHERE application = 'loans'")
    assert rows == [('{"a":2}',)]


def test_a_policy_from_the_future_does_not_stand(url: str) -> None:
    """What a worker with a clock of 2046 once wrote is overruled by the next that says something else."""
    events = {"prediction:p": prediction(), "feedback:f": feedback(1, a=1), "feedback:g": feedback(2, a=2)}
    put(url, [record(events)], policy=policy(**reducing(a="sum")))
    far = "toDateTime64('2046-01-01 00:00:00', 6, 'UTC')"
    names = "application, rules, now_us"
    command(url, f"INSERT INTO policies SELECT {names}, {far} FROM policies")
    put(url, [record(events)], policy=policy(**reducing(a="first")))
    ((feedback_now,),) = command(url, "SELECT feedback FROM records")[0]
    assert feedback_now == '{"a":1}'
    put(url, [record(events)], policy=policy(**reducing(a="max")))
    ((feedback_then,),) = command(url, "SELECT feedback FROM records")[0]
    assert feedback_then == '{"a":2}'


def test_an_event_that_somebody_edited_costs_itself(url: str) -> None:
    """Where events are appended, an altered one is not counted; its record and the others go on."""
    put(url, [record({"prediction:p": prediction()}, "edited"), *loans()[:5]])
    command(
        url, "ALTER TABLE events UPDATE event = 'see ticket 12' WHERE join_key = 'edited' SETTINGS mutations_sync = 2"
    )
    (merged,) = put(url, [record({"feedback:f": feedback(1, a=1)}, "edited"), *loans()[5:10]])
    assert merged.rows == 6


def test_the_printed_schema_is_enough(url: str) -> None:
    """What `joinback sink schema` prints makes the sink; the worker then creates nothing."""
    printed, offered = clickhouse.schema("clickhouse://localhost/default", Settings()).split("\n\n-- If dashboards")
    assert all(line.startswith("--") for line in offered.splitlines()[1:])
    statements = printed.split(";\n\n")
    made = [statement.strip().rstrip(";") for statement in statements]
    command(url, *(statement for statement in made if not statement.startswith("GRANT")))
    (before,) = command(url, "SELECT name, create_table_query FROM system.tables WHERE database = 'default'")
    put(url, loans())
    (after,) = command(url, "SELECT name, create_table_query FROM system.tables WHERE database = 'default'")
    assert sorted(before) == sorted(after)
    assert any(statement.startswith("GRANT SELECT, INSERT, ALTER DELETE ON events") for statement in made)
    assert len(ENGINES["clickhouse"].rows(url)) == 600


def test_a_copy_that_is_refreshed(url: str) -> None:
    """What comes after a refresh, late, in conflict or taken back, counts at the next: the copy is then `records`."""
    statement = clickhouse_schema.RECORDS_COPY.replace("records_copy", "copies.records_copy")
    refresh = ("SYSTEM REFRESH VIEW copies.records_copy", "SYSTEM WAIT VIEW copies.records_copy")
    names = "application, join_key, status, outputs, feedback, conflicts, feedback_events"

    def rows(source: str) -> list[Any]:
        (found,) = command(url, f"SELECT {names} FROM {source} ORDER BY join_key")
        return list(found)

    first = {"prediction:b": prediction(), "feedback:f": feedback(5, repaid=True)}
    put(url, [record({"prediction:a": prediction()}, "k1"), record(first, "k2")])
    # chDB's own database cannot hold such a view.
    command(url, "CREATE DATABASE copies ENGINE = Atomic", statement.replace("FROM records", "FROM default.records"))
    command(url, *refresh)
    before = rows("copies.records_copy")
    assert before == rows("records")
    late = record({"feedback:g": feedback(60, repaid=False)}, "k1")
    conflicting = record({"prediction:c": prediction(1, outputs=0.9)}, "k1")
    taken_back = record({"retraction:r": retraction(90)}, "k2")
    put(url, [late], [conflicting, taken_back, record({"feedback:h": feedback(1, repaid=True)}, "k3")])
    assert rows("copies.records_copy") == before
    command(url, *refresh)
    after = rows("copies.records_copy")
    assert after == rows("records")
    assert [row[2] for row in after] == ["joined", "predicted", "orphan"]
