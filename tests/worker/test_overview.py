"""What `joinback status` knows from Redis alone, on every server."""

import asyncio
import io
import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack, process_environment
from documents import rights
from msgspec import structs
from rich.console import Console

from joinback import wire
from joinback_worker.cli.status_show import fitted, lines
from joinback_worker.connection.connect import connect
from joinback_worker.drain import heard
from joinback_worker.drain.group import LEASE_S, PARKED
from joinback_worker.notes.accounting import Accounting
from joinback_worker.notes.heartbeat import Beat
from joinback_worker.notes.history import RATE_OVER_S_MIN
from joinback_worker.notes.last_drains import LastDrain
from joinback_worker.operating import new_letters
from joinback_worker.operating.findings import FINDING_NAMES, HINTS, WHY, Finding, finding
from joinback_worker.operating.overview import overview
from joinback_worker.operating.states import Overview, State
from joinback_worker.operating.thresholds import Thresholds

ROOT = Path(__file__).parents[2]
HOUR = timedelta(hours=1)


def seen(stack: Stack, **thresholds: Any) -> Overview:
    async def look() -> Overview:
        buffer = connect(stack.settings)
        try:
            return await overview(buffer, stack.settings, Thresholds(**thresholds))
        finally:
            await buffer.aclose()

    return asyncio.run(look())


def loans(stack: Stack, **thresholds: Any) -> State:
    return next(state for state in seen(stack, **thresholds).applications if state.application == "loans")


def names(found: Overview) -> set[str]:
    return {one.name for one in found.all_findings}


def log(stack: Stack, *keys: str, **feedback: Any) -> None:
    for key in keys:
        if feedback:
            stack.client.log_record("loans", feedback=feedback, join_key=key)
        else:
            stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    assert stack.client.flush(PATIENCE_S)


def log_newer(stack: Stack, key: str) -> None:
    """As a client of a later release would."""
    event = b'{"v":99,"of":"a later release"}'
    keys = wire.write_keys("loans", [key])
    stack.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments("loans", 600, [("feedback:n", event)]))


def set_back(server: Any, by: timedelta, *what: str) -> None:
    """Make the notes of drains so much older: as if the time had passed."""
    for field, value in server.hgetall(wire.DRAINS_KEY).items():
        if not what or field.decode().partition(":")[0] in what:
            noted = msgspec.json.decode(value, type=LastDrain)
            server.hset(wire.DRAINS_KEY, field, msgspec.json.encode(structs.replace(noted, at=noted.at - by)))


def sign(server: Any, **changed: Any) -> None:
    """A worker that lives."""
    now = datetime.now(UTC)
    at = {"started_at": now - 9 * HOUR, "beat_at": now, "progress_at": now, "last_drain_at": now}
    worker = Beat(**{"host": "host-a", "pid": 1, "version": "0", "sink": "s", "settings": "same"} | at | changed)
    server.hset(wire.WORKERS_KEY, worker.name, msgspec.json.encode(worker))
    server.expire(wire.WORKERS_KEY, 600)


def age_history(server: Any, by: timedelta, **changed: int) -> None:
    """Make the history as if all of it had been noted so long before."""
    key = wire.history_key("loans")
    entries = server.xrange(key)
    server.delete(key)
    for entry_id, fields in entries:
        milliseconds, _, number = entry_id.partition(b"-")
        noted = {name: value for name, value in fields.items()} | {n.encode(): v for n, v in changed.items()}
        server.xadd(key, noted, id=f"{int(milliseconds) - int(by.total_seconds() * 1000)}-{number.decode()}")
    server.expire(key, 600)


def test_what_came_and_went(stack: Stack) -> None:
    """Rates are per minute since the history of some minutes ago; joined and orphans are those of the last day."""
    log(stack, "a", "b")
    log(stack, "a", "x", repaid=True)
    stack.drain()
    assert (loans(stack).received_per_min, loans(stack).joined_of_day, loans(stack).orphans_of_day) == (None, 1, 1)
    age_history(stack.server, timedelta(days=2))
    log(stack, "y", repaid=True)
    stack.drain()
    state = loans(stack)
    assert (state.joined_of_day, state.orphans_of_day, state.rows_of_day) == (0, 1, 1)
    age_history(stack.server, timedelta(seconds=RATE_OVER_S_MIN))
    log(stack, "c", "d", "e")
    state = loans(stack)
    assert state.received_per_min == pytest.approx(1.0, rel=0.3)
    assert (state.counters["received:prediction"], state.counters["received:feedback"]) == (5, 3)
    assert state.last_drain_s is not None


def test_what_waits_for_a_newer_worker_has_a_number_of_its_own(stack: Stack) -> None:
    """An event of a newer client makes no oldest claimable one; it is parked, claimed again, and drained by a worker
    that can read it.
    """
    log(stack, "z")
    log_newer(stack, "n")
    drained = stack.drain()
    assert (drained.newer, drained.released) == (1, 0)
    state = loans(stack)
    assert (state.oldest_claimable_s, state.claimed, state.waiting_for_upgrade) == (None, 0, 1)
    log(stack, "a")
    state = loans(stack)
    assert state.oldest_claimable_s is not None
    assert state.waiting_for_upgrade_s is not None
    assert state.waiting_for_upgrade_s > state.oldest_claimable_s
    assert names(seen(stack)) == {"waiting_for_upgrade"}
    # Its lease is over, and whoever drains can read it now.
    (claim,) = stack.server.xpending_range(wire.pending_key("loans"), wire.GROUP, "-", "+", 10)
    assert claim["consumer"] == PARKED.encode()
    idle_ms = int(LEASE_S * 1000)
    stack.server.execute_command(
        "XCLAIM", wire.pending_key("loans"), wire.GROUP, PARKED, 0, claim["message_id"], "IDLE", idle_ms
    )
    now = datetime.now(UTC)
    good = wire.encode(wire.Feedback(v=1, at=now, logged_at=now, feedback={"repaid": True}))
    stack.server.hset(stack.record("n"), "feedback:n", good)
    assert stack.drain().rows == 2
    assert loans(stack).waiting_for_upgrade == 0


def test_who_drained_last(stack: Stack, cli: Cli) -> None:
    """Each round notes when it ended well, whatever waited; so does `joinback drain`, which gives no sign of life."""
    log(stack, "a")
    assert loans(stack).last_drain_at is None
    assert cli("drain").returncode == 0
    first = loans(stack)
    assert first.last_drain_at is not None
    assert re.fullmatch(r".+:\d+", first.drained_by or "")
    assert first.sink == stack.settings.sink_url
    stack.drain()
    second = loans(stack)
    assert second.last_drain_at is not None
    assert second.last_drain_at > first.last_drain_at
    assert 0 < stack.server.ttl(wire.DRAINS_KEY) <= wire.STATS_TTL_S


def test_a_full_redis_is_told_of_its_drains(stack: Stack) -> None:
    """At maxmemory, where it matters most, the drain is noted as well."""
    log(stack, "a")
    stack.server.config_set("maxmemory", 1)
    try:
        assert stack.drain().error is None
        assert loans(stack).last_drain_at is not None
    finally:
        stack.server.config_set("maxmemory", 0)


def test_a_dead_worker(stack: Stack) -> None:
    """No worker lives and the last drain is long ago: told with who it was. After a recent drain all is well."""
    log(stack, "a")
    stack.drain()
    assert names(seen(stack)) == set()
    set_back(stack.server, HOUR)
    found = seen(stack)
    assert names(found) == {"worker_dead"}
    assert f"by {found.applications[0].drained_by}" in found.troubles[0].says
    # Until two of its intervals are over there is nothing to tell.
    assert names(seen(stack, drain_intervals=13)) == set()


def test_a_living_worker_that_does_not_drain(stack: Stack) -> None:
    """A sign of life without a drain of this application is `no_drain`; without any progress, the worker hangs."""
    log(stack, "a")
    stack.drain()
    set_back(stack.server, HOUR)
    sign(stack.server, interval_s=300, wire_version=wire.WIRE_VERSION)
    assert names(seen(stack)) == {"no_drain"}
    sign(stack.server, interval_s=300, progress_at=datetime.now(UTC) - HOUR)
    assert names(seen(stack)) == {"no_drain", "worker_hangs"}
    # One with an interval of a day is in time.
    stack.server.delete(wire.WORKERS_KEY)
    sign(stack.server, interval_s=86_400, progress_at=datetime.now(UTC) - HOUR)
    assert names(seen(stack)) == set()


def fixes(found: Overview) -> dict[str, str]:
    return {one.name: one.fix for one in found.all_findings}


def test_one_cause_has_one_fix(stack: Stack) -> None:
    """What follows from the trouble of every worker of an application points to it, and gives no advice of its own."""
    log(stack, "a")
    stack.drain()
    set_back(stack.server, HOUR)
    log(stack, "b")
    age_pending(stack.server)
    late = {"interval_s": 300, "wire_version": wire.WIRE_VERSION}
    sign(stack.server, **late, trouble="the sink is wrong; correct JOINBACK_SINK_URL")
    assert fixes(seen(stack)) == {
        "worker_trouble": "correct JOINBACK_SINK_URL",
        "no_drain": "do what worker_trouble says",
        "pending_old": "do what worker_trouble says",
    }
    sign(stack.server, **late, trouble="boom")
    assert fixes(seen(stack))["worker_trouble"] == "see its log"
    # A second worker without trouble may drain it, so the cause is another.
    sign(stack.server, **late, host="host-b")
    assert fixes(seen(stack))["pending_old"] == "joinback drain, or start more workers"
    stack.server.delete(wire.WORKERS_KEY)
    sign(stack.server, **late, applications=["ads"])
    found = fixes(seen(stack))
    assert found["no_drain"] == found["pending_old"]
    assert found["no_drain"] == "start a worker with --application loans: no living worker takes it"


def age_pending(server: Any) -> None:
    """Make the entries of the queue as if they had come an hour ago."""
    pending = wire.pending_key("loans")
    hour_ago_ms = int((datetime.now(UTC) - HOUR).timestamp() * 1000)
    entries = [fields for _, fields in server.xrange(pending)]
    server.delete(pending)
    for place, fields in enumerate(entries):
        server.xadd(pending, fields, id=f"{hour_ago_ms}-{place}")
    server.xgroup_create(pending, wire.GROUP, "0")
    server.expire(pending, wire.STATS_TTL_S)


def test_who_holds_what_waits(stack: Stack) -> None:
    """While a worker that hangs holds the claims, no drain helps: it is named, and when its claims end; once they have
    ended, a drain does.
    """
    log(stack, "a")
    stack.drain()
    log(stack, "b")
    age_pending(stack.server)
    pending = wire.pending_key("loans")
    stack.server.xreadgroup(wire.GROUP, "host-a:1:0a1b2c", {pending: ">"})
    (found,) = [one for one in seen(stack).troubles if one.name == "pending_old"]
    assert found.says == "loans: 1 event waits, 1 of them claimed by host-a:1, the oldest for 1 h"
    assert found.fix == (
        "a claim ends within a minute, unless its worker drains; then joinback drain, or start a worker"
    )
    ((entry_id, _),) = stack.server.xrange(pending)
    idle_ms = int(LEASE_S * 1000)
    stack.server.execute_command("XCLAIM", pending, wire.GROUP, "host-a:1:0a1b2c", 0, entry_id, "IDLE", idle_ms)
    (found,) = [one for one in seen(stack).troubles if one.name == "pending_old"]
    assert (found.fix, "claimed by" in found.says) == ("joinback drain, or start a worker", False)
    assert stack.drain().rows == 1


def test_a_failed_drain_is_the_cause(stack: Stack) -> None:
    """Events that wait because the drain fails point to that failure, which its worker's trouble does not repeat."""
    log(stack, "a")
    stack.drain()
    ((_, value),) = stack.server.hgetall(wire.DRAINS_KEY).items()
    failed = structs.replace(msgspec.json.decode(value, type=LastDrain), at=datetime.now(UTC) + HOUR)
    failed = structs.replace(failed, error="the sink is away", sink_lost=True)
    stack.server.hset(wire.DRAINS_KEY, wire.drain_field("loans", is_done=False), msgspec.json.encode(failed))
    log(stack, "b")
    age_pending(stack.server)
    sign(stack.server, interval_s=300, trouble="the sink is away", wire_version=wire.WIRE_VERSION)
    assert fixes(seen(stack)) == {
        "sink_down": "joinback doctor tries Redis and the sink, and says what to do",
        "pending_old": "do what sink_down says",
    }


def test_a_worker_of_an_older_release(stack: Stack) -> None:
    """It notes no drains, and its sign of life says when it drained: that counts."""
    log(stack, "a")
    stack.drain()
    set_back(stack.server, HOUR)
    sign(stack.server)
    assert names(seen(stack)) == set()
    assert loans(stack).drained_by == "host-a:1"


def test_workers_that_differ(stack: Stack) -> None:
    """Two living workers with different settings of what a row says are told, by name."""
    log(stack, "a")
    stack.drain()
    sign(stack.server)
    sign(stack.server, host="host-b", settings="other")
    (found,) = seen(stack).troubles
    assert found.name == "workers_differ"
    assert "host-a:1 (same), host-b:1 (other)" in found.says


def test_a_sink_that_is_down(stack: Stack, tmp_path: Path) -> None:
    """The drain failed for the sink's sake: told with its own words, until one ends well."""
    log(stack, "a")
    stack.drain(sink_url=f"sqlite:///{tmp_path}/none/a.db")
    log(stack, "a")
    stack.drain()
    database = Path(stack.settings.sink_url.removeprefix("sqlite:///"))
    away = database.with_suffix(".away")
    database.rename(away)
    database.mkdir()
    log(stack, "b")
    assert stack.drain().sink_lost
    found = seen(stack)
    assert names(found) == {"sink_down"}
    assert found.sinks[0].error is not None
    database.rmdir()
    away.rename(database)
    assert stack.drain().error is None
    assert names(seen(stack)) == set()


def test_letters_are_new_for_a_day_while_they_are_there(stack: Stack) -> None:
    """New letters are trouble; once dropped, or after a day, they are not, and are counted for ever."""
    log(stack, "a", "b")
    stack.server.delete(stack.record("a"))
    stack.drain()
    state = loans(stack)
    assert (state.dead_now, state.dead_ever, state.dead_new, state.dead_by_reason_new) == (
        1,
        1,
        1,
        {"record_missing": 1},
    )
    assert state.dead_expire_in_s is not None
    assert 0 <= wire.DEAD_TTL_S - state.dead_expire_in_s < 60
    assert names(seen(stack)) == {"new_dead_letters"}
    assert names(seen(stack, dead_new=1)) == set()
    stack.server.expire(wire.dead_key("loans"), 86_400)
    assert names(seen(stack)) == {"new_dead_letters", "dead_letters_expire"}
    stack.server.delete(wire.dead_key("loans"))
    state = loans(stack)
    assert (state.dead_now, state.dead_ever, state.dead_new) == (0, 1, 0)


def test_the_reasons_of_new_letters_add_up(stack: Stack, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a replay and a drop each reason is named with the letters that are there, and a reason without any is not;
    of very many letters it is said that there are more.
    """
    log(stack, *(f"k{n}" for n in range(40)))
    for n in range(20):
        stack.server.hset(stack.record(f"k{n}"), "feedback:torn", "{")
    for n in range(20, 40):
        stack.server.delete(stack.record(f"k{n}"))
    stack.drain()
    assert loans(stack).dead_by_reason_new == {"record_missing": 20, "undecodable": 20}
    letters = {fields[b"reason"]: entry_id for entry_id, fields in stack.server.xrange(wire.dead_key("loans"))}
    assert cli("dead", "drop", "loans", letters[b"undecodable"].decode()).returncode == 0
    assert cli("dead", "replay", "loans", "--reason", "undecodable", "--limit", "5", "--yes").returncode == 0
    stack.drain()
    assert cli("dead", "drop", "loans", "--reason", "record_missing").returncode == 0
    state = loans(stack)
    assert (state.dead_now, state.dead_new, state.dead_by_reason_new) == (19, 19, {"undecodable": 19})
    (found,) = seen(stack).troubles
    assert found.says == "loans: 19 new dead letters within 1 d (undecodable 19)"
    monkeypatch.setattr(new_letters, "COUNTED_MAX", 16)
    monkeypatch.setattr(new_letters, "PAGE_LETTERS", 16)
    (found,) = seen(stack).troubles
    assert found.says == "loans: 16 or more new dead letters within 1 d (undecodable 16)"


SILENCES = [
    # silent, longest before, watched, other events come, told
    (5, 1, 168, True, True),
    (5, 6, 168, True, False),
    (5, 1, 10, True, False),
    (5, 1, 168, False, False),
]


@pytest.mark.parametrize(("silent_h", "longest_h", "watched_h", "comes", "told"), SILENCES)
def test_no_feedback_for_longer_than_ever(
    stack: Stack, silent_h: int, longest_h: int, watched_h: int, comes: bool, told: bool
) -> None:
    """A silence is told if none was ever as long, feedback was watched for thrice as long, and other events come."""
    log(stack, "a", repaid=True)
    stack.drain()
    if not comes:
        stack.server.execute_command("XGROUP", "SETID", wire.pending_key("loans"), wire.GROUP, "1-1")
    now_s = int(datetime.now(UTC).timestamp())
    age_history(
        stack.server, silent_h * HOUR,
        feedback_at_s=now_s - silent_h * 3_600, feedback_first_s=now_s - (silent_h + watched_h) * 3_600,
        feedback_silence_max_s=longest_h * 3_600,
    )  # fmt: skip
    assert ("no_feedback" in names(seen(stack))) == told
    if told:
        assert "no_feedback" not in names(seen(stack, silence_factor=6))


def test_the_history_knows_its_silences(stack: Stack) -> None:
    """Each drain notes when feedback came last and the longest time without any; other drains carry it on."""
    log(stack, "a")
    stack.drain()
    assert loans(stack).last_feedback_at is None
    log(stack, "a", repaid=True)
    stack.drain()
    assert loans(stack).longest_silence_s == 0
    ((_, noted),) = stack.server.xrevrange(wire.history_key("loans"), count=1)
    hour_ago_s = int(noted[b"feedback_at_s"]) - 3_600
    age_history(stack.server, HOUR, feedback_at_s=hour_ago_s, feedback_first_s=hour_ago_s)
    log(stack, "b")
    stack.drain()
    assert loans(stack).longest_silence_s == 0
    log(stack, "b", repaid=True)
    stack.drain()
    assert loans(stack).longest_silence_s == pytest.approx(3_600, abs=60)
    assert loans(stack).first_feedback_at == datetime.fromtimestamp(hour_ago_s, tz=UTC)


def come(server: Any, *ages_s: int) -> None:
    """Feedback came so many seconds ago, as if it had waited in the queue since."""
    pending = wire.pending_key("loans")
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    (group,) = server.xinfo_groups(pending)
    entries = sorted((fields for _, fields in server.xrange(pending)), key=lambda fields: fields[b"key"])
    server.delete(pending)
    for age_s, fields in zip(ages_s, entries, strict=True):
        server.xadd(pending, fields, id=f"{now_ms - age_s * 1000}-0")
    server.xgroup_create(pending, group["name"], "0")
    server.expire(pending, wire.STATS_TTL_S)


@pytest.mark.parametrize("most", [1_000, 4])
def test_no_drain_is_no_silence(stack: Stack, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Silences are between times at which feedback came: that no worker drained it for an hour is none, and one within
    that hour is. Nor is it silent since a drain that is long ago.
    """
    monkeypatch.setattr(heard, "SECONDS_MAX", most)
    log(stack, "a", repaid=True)
    come(stack.server, 4_000)
    stack.drain()
    log(stack, *(f"k{n:02}" for n in range(10)), repaid=True)
    come(stack.server, 3_900, 3_800, 3_700, 3_000, 2_900, 2_800, 2_700, 2_600, 2_500, 2_400)
    stack.drain()
    state = loans(stack)
    assert state.longest_silence_s == pytest.approx(700, abs=2)
    assert state.last_feedback_at is not None
    assert seen(stack).at - state.last_feedback_at == pytest.approx(timedelta(seconds=2_400), abs=timedelta(minutes=10))
    now_s = int(datetime.now(UTC).timestamp())
    long_ago_s = now_s - 1_000_000
    age_history(stack.server, HOUR, feedback_at_s=now_s - 3_600, feedback_first_s=long_ago_s)
    log(stack, "p")
    assert "no_feedback" in names(seen(stack))
    set_back(stack.server, HOUR)
    assert "no_feedback" not in names(seen(stack))


def test_evictions_of_before_are_no_alarm_for_ever(stack: Stack, cli: Cli) -> None:
    """What a server evicted before it was mended, of whomever, is exit code 0; what a worker saw is told for a day."""
    stack.server.config_set("maxmemory-policy", "allkeys-lru")
    for n in range(100):
        stack.server.set(f"somebody:{n}", "x" * 10_000, ex=600)
    evicted = stack.server.info("stats")["evicted_keys"]
    stack.server.config_set("maxmemory", int(stack.server.info("memory")["used_memory"] * 0.8))
    stack.server.set("one", "more", ex=600)
    stack.server.config_set("maxmemory", 0)
    stack.server.config_set("maxmemory-policy", "noeviction")
    assert stack.server.info("stats")["evicted_keys"] > evicted
    log(stack, "a")
    stack.drain()
    assert cli("status").returncode == 0
    sign(stack.server, evictions_at=datetime.now(UTC) - HOUR)
    assert names(seen(stack)) == {"evictions"}
    sign(stack.server, evictions_at=datetime.now(UTC) - 25 * HOUR)
    assert names(seen(stack)) == set()


def test_a_restart_is_told_once_for_a_day(stack: Stack) -> None:
    """Two workers saw the same restart: one finding, with the last of them; after a day none."""
    log(stack, "a")
    stack.drain()
    sign(stack.server, restarted_at=datetime.now(UTC) - HOUR)
    sign(stack.server, host="host-b", restarted_at=datetime.now(UTC) - HOUR / 2)
    (found,) = seen(stack).troubles
    assert (found.name, "30 min ago, seen by host-b:1" in found.says) == ("restarted", True)
    for host in ("host-a", "host-b"):
        sign(stack.server, host=host, restarted_at=datetime.now(UTC) - 25 * HOUR)
    assert names(seen(stack)) == set()


def test_the_screen(stack: Stack, cli: Cli) -> None:
    """The table fits into 80 columns and has no frame where it is piped; the troubled come first; the thresholds are
    options.
    """
    for application in ("aa", "loans", "zz"):
        stack.client.log_record(application, inputs=1, outputs=2, join_key="a")
    stack.drain()
    log(stack, "b")
    stack.server.delete(stack.record("b"))
    stack.drain()
    done = cli("status", COLUMNS="80")
    assert done.returncode == 1
    table = done.stdout.partition("workers alive")[0]
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["!", "aa", "zz"]
    assert max(map(len, table.splitlines())) <= 80
    assert done.stdout.isascii()
    assert "! new_dead_letters: loans: 1 new dead letter within 1 d (record_missing 1)" in done.stdout
    assert cli("status", "--dead-new", "1").returncode == 0


def test_troubles_stand_before_hints() -> None:
    """Whosever they are: a hint about the whole does not push an application's trouble down."""
    hint = Finding(name="client_drops", says="", is_trouble=False)
    trouble = Finding(name="sink_down", says="")
    state = State(application="loans", findings=[hint, trouble])
    told = Overview(at=datetime.now(UTC), interval_s=300, applications=[state], findings=[hint])
    assert told.all_findings == [trouble, hint, hint]


def test_a_terminal_of_80_columns_shows_every_column_whole() -> None:
    """Also with all that are optional: no heading is broken, and the difference is there."""
    now = datetime.now(UTC)
    state = State(
        application="loans",
        books=Accounting(received=3, in_rows=2),
        oldest_claimable_s=68.0,
        waiting_for_upgrade=1,
        dead_now=4,
        dead_ever=4,
        dead_expire_in_s=30 * 86_400.0,
        last_drain_at=now,
        next_drain_at=now + timedelta(minutes=5),
    )
    screen = Console(width=80, record=True, file=io.StringIO())
    for line in lines(Overview(at=now, interval_s=300, applications=[state]), has_box=True):
        screen.print(line)
    heading = screen.export_text().splitlines()[1].split()
    last = ["oldest", "worker", "/ever", "expire", "drain", "drain", "diff"]
    assert heading == ["application", "/min", "/min", "24", "h", "24", "h", *last]


def test_a_name_is_shown_as_it_is(stack: Stack, cli: Cli) -> None:
    """What rich would take for markup, or for the short name of an emoji, is a part of the name; so are blanks, and
    the command that mends it is one for a shell.
    """
    for name in ("a:b", "[red]x[/red]", "a b"):
        stack.client.log_record(name, feedback={"x": 1}, join_key="k")
        assert stack.client.flush(PATIENCE_S)
        stack.server.hset(wire.record_key(wire.tag(name), "k"), "feedback:torn", "{")
    stack.drain()
    said = cli("status").stdout
    assert "    joinback dead list 'a b'\n" in said
    for name in ("a:b", "[red]x[/red]", "a b"):
        assert f"! new_dead_letters: {name}: 1 new dead letter within 1 d (undecodable 1)" in said


def test_watching(stack: Stack) -> None:
    """`status --watch` draws again and again at a terminal, and q ends it."""
    log(stack, "a")
    stack.drain()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "joinback_worker", "status", "--watch"]
    environment = process_environment(stack.settings) | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs) as process:
        # Else the end of what it writes is not seen.
        os.close(theirs)
        shown = b""
        with suppress(OSError):
            while more := os.read(ours, 65_536):
                if b"q ends" in shown + more and b"q ends" not in shown:
                    os.write(ours, b"q")
                shown += more
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert b"loans" in shown


def test_json_has_what_scripts_need(stack: Stack, cli: Cli) -> None:
    """One object: each application by name with its books and findings, the workers, the sinks, and the findings."""
    log(stack, "a")
    stack.drain()
    told = json.loads(cli("status", "--json").stdout)
    assert told["applications"]["loans"].keys() >= {
        "received",
        "difference",
        "oldest_claimable_s",
        "dead_now",
        "findings",
    }
    assert told.keys() == {"at", "interval_s", "applications", "workers", "sinks", "drops", "findings"}


def test_the_least_rights_are_enough_to_look(stack: Stack, cli: Cli) -> None:
    """With the worker's rights of deploy/redis/users.acl an operator may ask everything here."""
    stack.server.execute_command("ACL", "SETUSER", "joinback-worker", "reset", *rights("joinback-worker"))
    url = stack.settings.redis_url.replace("redis://", "redis://joinback-worker:secret@")
    log(stack, "a")
    stack.drain()
    log(stack, "b", repaid=True)
    try:
        for command in (
            ("status",),
            ("explain", "loans", "a"),
            ("doctor",),
            ("tap", "loans"),
            ("dead", "list", "loans"),
        ):
            done = cli(*command, JOINBACK_REDIS_URL=url)
            assert (done.returncode, done.stderr) == (0, ""), (command, done)
    finally:
        stack.server.execute_command("ACL", "DELUSER", "joinback-worker")


def test_what_somebody_else_wrote_hides_nothing(stack: Stack, server: redis.Redis) -> None:
    """Another type, or rubbish, at the keys of what workers note is passed over."""
    log(stack, "a")
    stack.drain()
    server.hset(wire.DRAINS_KEY, "done:loans", "rubbish")
    assert loans(stack).last_drain_at is None
    for key in (wire.DRAINS_KEY, wire.DROPS_KEY):
        server.delete(key)
        server.set(key, "mine", ex=60)
    assert loans(stack).books.received == 1
    assert stack.drain().error is None


def test_the_names_are_documented() -> None:
    """Each finding has a line in docs/reference/findings.md, as the code has it; and somewhere it is found."""
    table = (ROOT / "docs/reference/findings.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py") if path.name != "findings.py")
    assert set(WHY) == set(FINDING_NAMES) >= HINTS
    for name in FINDING_NAMES:
        assert f"| `{name}` | {'hint' if name in HINTS else ''} | {WHY[name]} |" in table
        assert f'"{name}"' in code or f'found["{name}"]' in code, name


def test_a_small_screen() -> None:
    """`status --watch` shows what a screen holds: the troubled and the worst first, and what is left."""
    states = [
        State(
            application=f"app-{number}",
            findings=[finding("difference", f"app-{number}: 3 events are lost" + " x" * 60)],
        )
        for number in range(40)
    ]
    found = Overview(
        at=datetime.now(UTC), interval_s=300, applications=states, findings=[finding("worker_dead", "no worker lives")]
    )
    console = Console(width=80, height=24, file=io.StringIO())
    shown = fitted(found, console.width, console.height)
    console.print(*shown, sep="\n")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert len(text.splitlines()) <= 24
    assert "app-7" in text
    assert "32 more applications: joinback status" in text
    assert "! worker_dead: no worker lives" in text
    assert "more lines: joinback status" in text
