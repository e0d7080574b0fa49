"""`joinback status` and the named conditions of Redis."""

import asyncio
import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack

import joinback
from joinback import wire
from joinback._delivery import attempts
from joinback_worker.drain.drainer import drain_all
from joinback_worker.notes.health import Health
from joinback_worker.operating.redis_cli import redis_cli


class Info:
    """A Redis that answers INFO with these values."""

    def __init__(self, **values: Any) -> None:
        self.values = {"maxmemory_policy": "noeviction", "maxmemory": 0, "used_memory": 1, "run_id": "a"} | values

    async def execute_command(self, *_: str) -> dict[str, Any]:
        return self.values


def look(health: Health, **values: Any) -> set[str]:
    return set(asyncio.run(health.look(Info(**values))))  # type: ignore[arg-type]


def test_conditions() -> None:
    """Each state that may lose events has its name; a healthy server has none."""
    assert look(Health()) == set()
    assert look(Health(), maxmemory_policy="allkeys-lru") == set()
    assert look(Health(), maxmemory_policy="allkeys-lru", maxmemory=100) == {"eviction_possible"}
    assert look(Health(), maxmemory=100, used_memory=86) == {"memory_high"}
    assert look(Health(), maxmemory=100, used_memory=85) == set()
    assert look(Health(), maxmemory_policy="allkeys-lru", maxmemory=100, evicted_keys=5) == {
        "eviction_possible",
        "evictions",
    }


def test_changes_between_two_looks() -> None:
    """A worker tells of evictions and restarts when they happen, not for ever after."""
    health = Health()
    assert look(health, evicted_keys=5) == set()
    assert look(health, evicted_keys=5) == set()
    assert look(health, evicted_keys=6) == {"evictions"}
    assert look(health, evicted_keys=6) == set()
    assert look(health, run_id="b") == {"restarted"}
    assert look(health, run_id="b") == set()
    # It has read back what it had acknowledged.
    assert look(health, run_id="c", aof_enabled=1) == set()


def test_a_nearly_full_redis_gets_feedback_first(
    stack: Stack, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 85 % of maxmemory the worker says so; clients then send feedback and hold predictions until it is over."""
    monkeypatch.setattr(attempts, "PAUSE_CHECK_S", 0.01)
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="before")
    stack.drain()
    used = stack.server.info("memory")["used_memory"]
    stack.server.config_set("maxmemory", int(used / 0.9))
    assert stack.drain().error is None
    assert stack.server.exists(wire.PAUSED_KEY)
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="held")
    stack.client.log_record("loans", feedback={"a": 1}, join_key="sent")
    wait_until(lambda: stack.server.exists(stack.record("sent")))
    assert not stack.client.flush(0.2)
    assert not stack.server.exists(stack.record("held"))
    assert stack.client.stats()["buffered"] == 1
    stack.server.config_set("maxmemory", 0)
    asyncio.run(drain_all(stack.settings))
    assert stack.client.flush(PATIENCE_S)
    assert stack.server.exists(stack.record("held"))
    stack.drain()


def test_what_is_held_back_is_counted_at_the_end(
    stack: Stack, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that closes while it holds predictions back counts them as undelivered."""
    monkeypatch.setattr(attempts, "PAUSE_CHECK_S", 0.01)
    stack.server.set(wire.PAUSED_KEY, "1", ex=60)
    client = joinback.Client().init(stack.settings.redis_url)
    client.log_record("loans", inputs=1, outputs=2)
    client.log_record("loans", feedback={"a": 1}, join_key="k")
    wait_until(lambda: client.stats()["sent"])
    assert not client.close(timeout_s=0.3)
    wait_until(lambda: client.stats()["dropped"]["undelivered"])
    stats = client.stats()
    assert (stats["sent"], stats["buffered"], stats["dropped"]["undelivered"]) == (1, 0, 1)


def test_status_shows_the_books(stack: Stack, cli: Cli) -> None:
    """Each application's identity, its difference and what waits longest, for people and for scripts."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a", event_id="e")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a", event_id="e")
    stack.drain()
    stack.client.log_record("cards", feedback={"a": 1}, join_key="a")
    stack.client.flush(PATIENCE_S)
    done = cli("status", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["findings"] == []
    loans, cards = told["applications"]["loans"], told["applications"]["cards"]
    assert (loans["received"], loans["in_rows"], loans["duplicates"], loans["difference"]) == (2, 1, 1, 0)
    assert (cards["received"], cards["pending"], cards["difference"]) == (1, 1, 0)
    assert cards["oldest_claimable_s"] >= 0
    shown = cli("status").stdout
    assert "loans" in shown
    assert "cards" in shown


def test_a_loss_is_told(stack: Stack, cli: Cli) -> None:
    """Somebody deleted the pending stream: the difference is what is missing, and the exit code is 1."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    stack.client.flush(PATIENCE_S)
    stack.server.delete(wire.pending_key("loans"))
    done = cli("status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["applications"]["loans"]["difference"] == 1
    stack.server.hincrby(wire.stats_key("loans"), "received:prediction", -1)


def test_a_redis_that_may_evict_is_told(stack: Stack, cli: Cli) -> None:
    """A policy that may let go of acknowledged events is exit code 1 and one line with the fix."""
    stack.server.config_set("maxmemory", "1gb")
    stack.server.config_set("maxmemory-policy", "volatile-ttl")
    try:
        done = cli("status")
    finally:
        stack.server.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 1
    line = f"set it to noeviction: {redis_cli(stack.settings.redis_url)} CONFIG SET maxmemory-policy noeviction; then"
    assert f"{line} CONFIG REWRITE" in done.stdout.replace("\n", " ")


def close_the_books(stack: Stack, fix: str, **numbers: str) -> None:
    """Run the redis-cli commands of a fix, with these numbers in the place of its names."""
    commands = re.findall(rf"{re.escape(redis_cli(stack.settings.redis_url))} (HINCRBY [^;]*)", fix)
    assert commands
    for command in commands:
        stack.server.execute_command(*(numbers.get(word, word) for word in shlex.split(command)))


def test_events_that_a_requeue_brought_back_are_not_lost(stack: Stack, cli: Cli) -> None:
    """After the pending stream was deleted, a requeue brings all back and the difference stays; the finding's commands
    close the books with nothing lost.
    """
    for n in range(20):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=f"loan_{n}")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_3")
    assert stack.client.flush(PATIENCE_S)
    stack.server.delete(wire.pending_key("loans"))
    requeued = cli("requeue", "loans").stdout.splitlines()
    assert requeued[0].startswith("requeued 20 records of loans; ")
    assert requeued[1].startswith("they hold at most 21 events: ")
    stack.drain()
    assert len(stack.rows()) == 20
    found = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    assert found["difference"] == 21
    (fix,) = [one["fix"] for one in found["findings"] if one["name"] == "difference"]
    assert "This number stays" in fix
    close_the_books(stack, fix, BACK="21", REST="0")
    found = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    assert (found["difference"], found["dead_ever"], found["findings"]) == (0, 0, [])


@pytest.mark.parametrize("lost", [1, -1])
def test_the_commands_that_close_the_books(stack: Stack, cli: Cli, lost: int) -> None:
    """The finding of a difference has the redis-cli command that ends it, in the same Redis; then nothing is reported,
    and `dead list` says what the counted events are.
    """
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    # A foreign hand: one event that nobody drained, or one that was counted twice.
    stack.server.hincrby(wire.stats_key("loans"), "received:feedback", lost)
    found = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    (fix,) = [one["fix"] for one in found["findings"] if one["name"] == "difference"]
    assert ("joinback requeue loans" in fix) == (lost > 0)
    close_the_books(stack, fix, BACK="0", REST="1")
    found = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    assert found["difference"] == 0
    assert found["findings"] == []
    if lost > 0:
        shown = cli("dead", "list", "loans").stdout
        assert "lost  0 now, 1 ever, 0 can be replayed\n  nothing to replay: a person counted these events" in shown


@pytest.mark.parametrize("option", ["--age-intervals", "--drain-intervals", "--silence-factor", "--orphan-share"])
def test_a_threshold_is_a_finite_number(cli: Cli, option: str) -> None:
    """nan, which no number exceeds, would switch an alarm off without a word."""
    for value in ("nan", "inf", "-1"):
        done = cli("status", option, value)
        assert (done.returncode, done.stdout) == (2, "")
        assert value in done.stderr


def test_a_redis_that_is_nearly_full(stack: Stack, cli: Cli) -> None:
    """The finding has the redis-cli line that gives it more memory."""
    stack.server.config_set("maxmemory", int(stack.server.info("memory")["used_memory"] / 0.9))
    try:
        shown = cli("status").stdout
    finally:
        stack.server.config_set("maxmemory", 0)
    own = redis_cli(stack.settings.redis_url)
    assert f"    shorten JOINBACK_SETTLED_TTL_S, or give it more: {own} CONFIG SET maxmemory BYTES; then" in shown


def test_a_redis_that_refuses_info(stack: Stack, cli: Cli) -> None:
    """`status` and the metrics name what nobody can see then, as a hint with the right that is missing; no log line, of
    which each scrape would write one.
    """
    stack.server.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-info")
    try:
        url = stack.settings.redis_url.replace("redis://", "redis://blind:pw@")
        done = cli("status", "--json", JOINBACK_REDIS_URL=url)
        (found,) = json.loads(done.stdout)["findings"]
        assert (found["name"], found["is_trouble"]) == ("health_unknown", False)
        assert "a full memory are not reported" in found["says"]
        assert "+info" in found["fix"]
        metrics = cli("status", "--prometheus", JOINBACK_REDIS_URL=url)
        assert metrics.stdout.startswith("# HELP joinback_up")
        assert 'joinback_finding{application="",name="health_unknown",severity="hint"} 1.0' in metrics.stdout
        assert (done.returncode, done.stderr, metrics.stderr) == (0, "", "")
    finally:
        stack.server.execute_command("ACL", "DELUSER", "blind")
