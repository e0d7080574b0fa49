"""A round over many applications: what each costs, and that none holds up another."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack

from joinback import wire
from joinback_worker.drain import drainer
from joinback_worker.drain.drainer import drain_all

APPLICATIONS = 10


def announce(stack: Stack, *names: str) -> None:
    stack.server.hset(wire.APPLICATIONS_KEY, mapping={name: '{"shards":1}' for name in names})
    stack.server.expire(wire.APPLICATIONS_KEY, 3600)


def test_ten_applications_on_one_file(stack: Stack, cli: Cli) -> None:
    """Ten applications with work share one SQLite file: one drain takes all, and none is released for a lock."""
    for n in range(APPLICATIONS * 300):
        stack.client.log_record(f"app_{n % APPLICATIONS}", inputs=n, outputs=0, join_key=f"key_{n}")
    assert stack.client.flush(PATIENCE_S)
    done = cli("drain", "--json")
    assert done.returncode == 0, done.stderr
    assert '"claimed": 3000' in done.stdout
    assert '"released": 0' in done.stdout
    assert len(stack.rows()) == APPLICATIONS * 300


def test_drains_at_once_add_up(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Applications that are drained at once are all in the sum, and so is the trouble of the first that ends."""
    for n in range(APPLICATIONS * 30):
        stack.client.log_record(f"app_{n % APPLICATIONS}", inputs=n, outputs=0, join_key=f"key_{n}")
    stack.client.log_record("bad", inputs=1, outputs=0)
    assert stack.client.flush()
    stack.server.delete(wire.pending_key("bad"))
    stack.server.set(wire.pending_key("bad"), "somebody's", ex=60)
    done = cli("drain", "--json", JOINBACK_SINK_URL=f"jsonl:///{tmp_path}/rows")
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert (told["claimed"], told["rows"]) == (APPLICATIONS * 30, APPLICATIONS * 30)
    assert "another type" in told["error"]
    stack.server.delete(*stack.server.keys("joinback:{bad}:*"))


def test_idle_applications_cost_a_length_each(stack: Stack) -> None:
    """Of 300 idle applications a round asks Redis for the length of their stream, and opens no sink for them."""
    announce(stack, *(f"idle_{n}" for n in range(300)))
    stack.client.log_record("busy", inputs=1, outputs=2)
    assert stack.client.flush(PATIENCE_S)
    stack.server.config_resetstat()
    stack.drain()
    calls = {name: stats["calls"] for name, stats in stack.server.info("commandstats").items()}
    assert calls.pop("cmdstat_xlen") <= 301 + 5  # the accounting of the one that is busy asks too
    assert sum(calls.values()) < 80, calls
    assert [row["application"] for row in stack.rows()] == ["busy"]


def test_an_idle_application_closes_its_unlabelled(stack: Stack) -> None:
    """An application with a maturity is looked at in each round: its predictions close without any traffic."""
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    stack.client.log_record("ads", inputs=1, outputs=2, join_key="shown", timestamp=an_hour_ago)
    stack.drain()
    assert stack.row("shown")["status"] == "predicted"
    stack.drain({"ads": {"maturity_s": 60}})
    assert stack.row("shown")["status"] == "unlabelled"


@pytest.mark.parametrize("kind", ["pending", "stats", "dead"])
def test_one_applications_trouble_is_its_own(stack: Stack, kind: str) -> None:
    """Where something else stands at a key of one application, the others are drained, and the result names it."""
    keys = {"pending": wire.pending_key, "stats": wire.stats_key, "dead": wire.dead_key}
    for name in ("good_1", "bad", "good_2"):
        stack.client.log_record(name, inputs=1, outputs=2, join_key=name)
    assert stack.client.flush(PATIENCE_S)
    bad = keys[kind]("bad")
    stack.server.delete(bad)
    stack.server.set(bad, "somebody's", ex=60)
    asyncio.run(drain_all(stack.settings))
    assert {"good_1", "good_2"} <= {row["application"] for row in stack.rows()}
    stack.server.delete(bad, *stack.server.keys("joinback:{bad}:*"))


def test_a_fault_of_ours_is_one_applications(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that nobody foresaw costs its own tag a tick, is told by kind and place, and quotes no payload."""
    drain = drainer.drain

    async def trip(source: object, sink: object, application: str, **options: object) -> object:
        if application == "bad":
            raise ZeroDivisionError("the payload")
        return await drain(source, sink, application, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(drainer, "drain", trip)
    for name in ("good_1", "bad", "good_2"):
        stack.client.log_record(name, inputs=1, outputs=2, join_key=name)
    assert stack.client.flush(PATIENCE_S)
    drained = asyncio.run(drain_all(stack.settings))
    assert [row["application"] for row in stack.rows()] == ["good_1", "good_2"]
    assert drained.error is not None
    assert "ZeroDivisionError at drainer.py:" in drained.error
    assert "the payload" not in drained.error + capsys.readouterr().out


def test_one_tag_does_not_keep_the_others_waiting(stack: Stack) -> None:
    """A round takes a chunk of a tag whose budget is spent, says that it is unfinished, and goes on to the next tag."""
    for name in ("big", "small"):
        for n in range(1_500 if name == "big" else 1):
            stack.client.log_record(name, inputs=n, outputs=0, join_key=f"key_{n}")
    assert stack.client.flush(PATIENCE_S)

    async def rounds() -> list[bool]:
        worker = drainer.Drainer(stack.settings)
        try:
            first = await worker.round(tag_budget_s=0)
            small = stack.rows("application = 'small'")
            second = await worker.round(tag_budget_s=0)
            return [first.unfinished, bool(small), second.unfinished]
        finally:
            await worker.aclose()

    first, small, _ = asyncio.run(rounds())
    assert first
    assert small
    assert len(stack.rows()) == 1_501
