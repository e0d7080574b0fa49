"""`joinback.testing.local`: the whole way in one process, and what differs there from a server."""

import asyncio
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from redis.exceptions import ResponseError
from ruled import file, reducing

import joinback.testing
from joinback import wire
from joinback.errors import ConfigurationError, InvalidEvent, JoinbackError


def test_a_prediction_and_its_feedback() -> None:
    """Logged by the default client as a service does, drained by call: one row, its JSON decoded."""
    with joinback.testing.local() as local:
        joinback.log_record("loans", inputs={"amount": 900}, outputs=0.8, join_key="loan_17")
        local.drain()
        assert [row["status"] for row in local.rows()] == ["predicted"]
        joinback.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
        joinback.log_record("ads", inputs=1, outputs=2, join_key="k")
        assert local.drain().rows == 2
    (row,) = local.rows("loans")
    assert (row["status"], row["inputs"], row["feedback"]) == ("joined", {"amount": 900}, {"repaid": True})
    assert (datetime.now(UTC) - row["predicted_at"]).total_seconds() < 60
    assert [row["application"] for row in local.rows()] == ["ads", "loans"]


def test_the_settings_of_a_worker(tmp_path: Path) -> None:
    """The worker's settings are those of the documented variables, and a wrong one is refused by name."""
    client = joinback.Client()
    config = file(tmp_path, ads=reducing(clicks="sum"))
    with joinback.testing.local(client, emit="joined", config=config) as local:
        client.log_record("ads", inputs=1, outputs=2, join_key="k")
        client.log_record("ads", inputs=1, outputs=2, join_key="alone")
        for clicks in (2, 3):
            client.log_record("ads", feedback={"clicks": clicks}, join_key="k")
        local.drain()
        assert [(row["join_key"], row["feedback"]) for row in local.rows()] == [("k", {"clicks": 5})]
    for wrong in ({"emit": "some"}, {"interval": 3}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))), joinback.testing.local(client, **wrong):
            pass


def test_the_dead_letters() -> None:
    """What cannot become a part of a row is looked at in the block, with its reason."""
    with joinback.testing.local() as local:
        joinback.log_record("loans", inputs=1, outputs=2, join_key="k", timestamp="2020-01-01")
        joinback.log_record("loans", feedback={"repaid": True}, join_key="k")
        local.drain()
        assert [(letter["key"], letter["reason"]) for letter in local.dead("loans")] == [("k", "after_window")]


def test_within_a_loop() -> None:
    """A test of an asyncio service drains as well."""

    async def test() -> int:
        with joinback.testing.local() as local:
            joinback.log_record("loans", inputs=1, outputs=2)
            return int(local.drain().rows)

    assert asyncio.run(test()) == 1


def test_the_client_is_as_it_was() -> None:
    """After the block the client delivers where it did before; within, it is strict, and two blocks share nothing."""
    client = joinback.Client()
    with pytest.raises(InvalidEvent), joinback.testing.local(client):
        client.log_record("loans", inputs=1)
    assert client._configured is False
    with joinback.testing.local(client) as first:
        client.log_record("loans", inputs=1, outputs=2)
        first.drain()
    with joinback.testing.local(client) as second:
        second.drain()
    assert (len(first.rows()), len(second.rows())) == (1, 0)


def test_a_drain_that_fails_is_told() -> None:
    """What a worker would log and try again later, a test is told at once."""
    with joinback.testing.local() as local:
        joinback.log_record("loans", inputs=1, outputs=2)
        joinback.flush()
        local.redis.delete(wire.pending_key("loans"))
        local.redis.set(wire.pending_key("loans"), "x", ex=60)
        with pytest.raises(JoinbackError, match="another type"):
            local.drain()


def test_what_is_not_installed(tmp_path: Path) -> None:
    """Without the extra it says what to install."""
    missing = "raise ModuleNotFoundError(name='fakeredis')"
    (tmp_path / "fakeredis.py").write_text(missing)
    code = "import joinback.testing\nwith joinback.testing.local(): pass"
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "needs fakeredis; in its clone: pip install '.[testing]'" in done.stderr


# --- what differs from a server: the table in docs/how-to/test-your-service.md, a line each --------------------------


def test_nothing_is_measured_or_evicted() -> None:
    """INFO, CONFIG and MEMORY are not there: neither a full Redis nor an eviction can be played."""
    with joinback.testing.local() as local:
        for command in ("INFO", "CONFIG GET maxmemory", "MEMORY USAGE x"):
            with pytest.raises(ResponseError, match="unknown"):
                local.redis.execute_command(*command.split())


def test_it_is_one_server() -> None:
    """There is no cluster, and no Sentinel: CLUSTER is not there, and keys of any slots go into one script."""
    with joinback.testing.local() as local:
        with pytest.raises(ResponseError, match="unknown"):
            local.redis.execute_command("CLUSTER", "INFO")
        assert local.redis.eval("return {KEYS[1], KEYS[2]}", 2, "a", "b") == [b"a", b"b"]


def test_it_ends_with_the_block() -> None:
    """Nothing is kept: after the block nobody answers where it was."""
    with joinback.testing.local() as local:
        port = local.redis.connection_pool.connection_kwargs["port"]
    with redis.Redis(port=port) as connection, pytest.raises(redis.ConnectionError):
        connection.ping()


def test_the_table_of_differences() -> None:
    """Each line of it names a test, of this file or of test_memory.py."""
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "test-your-service.md").read_text()
    named = re.findall(r"`(test_\w+)` \|$", page, re.MULTILINE)
    assert len(named) == 5
    others = (Path(__file__).parent / "test_memory.py").read_text()
    assert all(name in globals() or f"def {name}(" in others for name in named)
