"""A store with every kind of trouble, planted: what a person may meet at night, and what must name it at first try.

python tests/troubled.py   # starts a Redis, plants all of it, and shows what the commands say of it, at 80 columns
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis
from msgspec import structs

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.drain.drainer import drain_all
from joinback_worker.drain.group import PARKED
from joinback_worker.notes.last_drains import LastDrain

HOUR_S = 3_600
PATIENCE_S = 60.0
RULES = """
[applications.loans]
maturity_s = 86400
labels = ["repaid"]

[applications.loans.feedback.repaid]
"""


class Trouble(NamedTuple):
    """What was planted, the command a person would run first, and what its answer must say."""

    what: str
    command: tuple[str, ...]
    says: str
    is_first_line: bool = False


TROUBLES = [
    Trouble(
        "the worker has been dead for an hour",
        ("status",),
        "! worker_dead: no worker is alive; the last drain ended 1 h",
    ),
    Trouble("events have waited for an hour", ("status",), "! pending_old: loans: "),
    Trouble("a sink is down", ("status",), "! sink_down: ads: the last drain failed: the sink is away"),
    Trouble("events of a newer client wait", ("status",), "- waiting_for_upgrade: loans: 1 event of a newer"),
    Trouble("dead letters came", ("status",), "! new_dead_letters: loans: "),
    Trouble("events were lost", ("status",), "! difference: ads: 3 received events are missing from the books"),
    Trouble("labels have stopped", ("status",), "! no_feedback: ads: no feedback for 3 h 5"),
    Trouble("labels go to a misspelt application", ("status",), "only feedback comes, and no prediction"),
    Trouble("and which was meant", ("status",), "did its sender mean loans?"),
    Trouble("labels match no prediction", ("status",), "- many_orphans: loans: "),
    Trouble("a service drops events", ("status",), "buffer_full by scoring on web-3"),
    Trouble("Redis may evict", ("status",), "! eviction_possible: "),
    Trouble("Redis is nearly full", ("status",), "! memory_high: "),
    Trouble("the same, tried", ("doctor",), "FIX   workers  worker_dead: "),
    Trouble("Redis keeps nothing over a restart", ("doctor",), "LOOK  redis  not_persistent: "),
    Trouble("a field is misspelt", ("doctor",), "field_seen_once: loans: the feedback field 'repayed' was logged once"),
    Trouble(
        "rows are closed before their labels", ("doctor",), "maturity_below_curve: loans: at its maturity of 1 d, only"
    ),
    Trouble(
        "a client's clock is wrong",
        ("doctor",),
        "client_clock_differs: clicks: the clock of 1 client differs from Redis's: 1",
    ),
    Trouble("orphans by the sample rate", ("doctor",), "sample_rate_high: clicks: feedback is kept for 0.01"),
    Trouble("leading zeros are missing", ("orphans", "loans"), "with leading zeros, to 4 digits"),
    Trouble("a hyphen for an underscore", ("orphans", "loans"), "with '_' between its parts"),
    Trouble("who sends them", ("orphans", "loans"), "sent by batch-job"),
    Trouble("torn events", ("dead", "list", "loans"), "undecodable  2 now"),
    Trouble("records evicted", ("dead", "list", "loans"), "record_missing  5 now"),
    Trouble("labels came too late", ("dead", "list", "loans"), "after_window  1 now"),
    Trouble("one of them", ("explain", "loans", "late"), "came too late: feedback:late came 20 d", True),
    Trouble("one that waits for its label", ("explain", "loans", "young"), "waits for feedback, for ", True),
    Trouble("a label with a hyphen", ("explain", "loans", "loan-0003"), "was loan_0003 meant?", True),
    Trouble("a key nobody logged", ("explain", "loans", "LOAN_0004"), "but there is loan_0004 (in lower case)", True),
    Trouble(
        "one that its client may have dropped",
        ("explain", "loans", "zz"),
        "scoring on web-3 dropped 1,204 events (buffer_full)",
        True,
    ),
    Trouble("a label taken back", ("explain", "loans", "back"), "taken back: all of its feedback was", True),
    Trouble("a key of a newer client", ("explain", "loans", "newer"), "waits for a newer worker, for 1 h", True),
    Trouble(
        "a claim of a killed worker",
        ("explain", "loans", "held"),
        "claimed by host-a:4711, which is not alive any more",
        True,
    ),
    Trouble("a torn key", ("explain", "loans", "torn_0"), "dead, because undecodable: ", True),
    Trouble("a key outside the sample", ("explain", "clicks", "key_0"), "sampled out: ", True),
]


def plant(settings: Settings, server: Any) -> Settings:
    """Plant all of it in this empty Redis and its sink; return the settings with which to look.

    `server` is redis-py's connection, whose types know no bytes as fields.
    """
    folder = Path(settings.sink_url.removeprefix("sqlite:///")).parent
    rules = folder / "troubled.toml"
    rules.write_text(RULES)
    settings = structs.replace(settings, config=str(rules))
    client = joinback.Client().init(settings.redis_url, strict=True)
    try:
        _plant_rows(client, settings)
        _plant_letters(client, settings, server)
        _plant_silence(client, settings, server)
        _plant_waiting(client, settings, server)
        _plant_clicks(client, server)
    finally:
        client.close()
    _plant_workers(server)
    _plant_memory(server)
    return settings


def _log(client: joinback.Client, application: str, *keys: str, at: datetime | None = None, **feedback: Any) -> None:
    for key in keys:
        if feedback:
            client.log_record(application, feedback=feedback, join_key=key, timestamp=at)
        else:
            client.log_record(application, inputs=1, outputs=0.5, join_key=key, timestamp=at)
    assert client.flush(PATIENCE_S)


def _drain(client: joinback.Client, settings: Settings) -> None:
    assert client.flush(PATIENCE_S)
    asyncio.run(drain_all(settings))


def _plant_rows(client: joinback.Client, settings: Settings) -> None:
    now = datetime.now(UTC)
    for n in range(60):
        at = now - timedelta(days=60 - n)
        _log(client, "loans", f"loan_{n:04}", at=at)
        if n % 2 == 0:
            _log(client, "loans", f"loan_{n:04}", at=min(now, at + timedelta(days=2)), repaid=True)
    _log(client, "loans", *(f"{n:04}" for n in range(100, 130)))
    for n in range(100, 130):
        client.log_record("loans", feedback={"repaid": True}, join_key=str(n), source="batch-job")
    _log(client, "loans", *(f"loan-{n:04}" for n in range(1, 40, 2)), repaid=True)
    _log(client, "loans", "loan_0001", repayed=True)
    _log(client, "lones", *(f"loan_{n:04}" for n in range(30)), repaid=True)
    _log(client, "loans", "young", at=now - timedelta(minutes=10))
    _log(client, "loans", "back", at=now - timedelta(days=2))
    _log(client, "loans", "back", at=now - timedelta(days=1), repaid=True)
    client.retract("loans", "back")
    _drain(client, settings)


def _plant_letters(client: joinback.Client, settings: Settings, server: Any) -> None:
    _log(client, "loans", "late", at=datetime.now(UTC) - timedelta(days=200))
    client.log_record("loans", feedback={"repaid": True}, join_key="late", event_id="late")
    _log(client, "loans", *(f"evicted_{n}" for n in range(5)))
    server.delete(*(wire.record_key("loans", f"evicted_{n}") for n in range(5)))
    for n in range(2):
        client.log_record("loans", feedback={"repaid": True}, join_key=f"torn_{n}", event_id="torn")
    assert client.flush(PATIENCE_S)
    for n in range(2):
        server.hset(wire.record_key("loans", f"torn_{n}"), "feedback:torn", "{torn")
    _drain(client, settings)


def _plant_waiting(client: joinback.Client, settings: Settings, server: Any) -> None:
    """What a newer client wrote, what a killed worker holds, and what came an hour ago."""
    _log(client, "loans", "newer")
    (field,) = server.hkeys(wire.record_key("loans", "newer"))
    server.hset(wire.record_key("loans", "newer"), field, b'{"v":99,"of":"a newer client"}')
    _drain(client, settings)
    pending = wire.pending_key("loans")
    _log(client, "loans", "held", "old")
    hour_ago_ms = int((datetime.now(UTC).timestamp() - HOUR_S) * 1000)
    for key in ("held", "old"):
        _set_back(server, key)
    parked = server.xrange(pending)
    server.delete(pending)
    server.xgroup_create(pending, wire.GROUP, "0", mkstream=True)
    server.expire(pending, wire.STATS_TTL_S)
    # Ids only grow, so what is the oldest is written first.
    by_key = {fields[b"key"]: fields for _, fields in parked}
    for place, key in enumerate((b"held", b"newer", b"old")):
        server.xadd(pending, by_key[key], id=f"{hour_ago_ms}-{place}")
    server.xreadgroup(wire.GROUP, "host-a:4711:abc123", {pending: ">"}, count=1)
    server.execute_command(
        "XCLAIM", pending, wire.GROUP, "host-a:4711:abc123", 0, f"{hour_ago_ms}-0", "IDLE", HOUR_S * 1000
    )
    server.xreadgroup(wire.GROUP, PARKED, {pending: ">"}, count=1)


def _set_back(server: Any, key: str) -> None:
    """Make the one event of a record of loans an hour older."""
    ((field, value),) = server.hgetall(wire.record_key("loans", key)).items()
    event = msgspec.json.decode(value, type=wire.Prediction)
    event.at = event.logged_at = event.logged_at - timedelta(seconds=HOUR_S)
    server.hset(wire.record_key("loans", key), field, wire.encode(event))


def _plant_clicks(client: joinback.Client, server: Any) -> None:
    """A client with a wrong clock logs few of the keys, and feedback is kept for more of them."""
    client.set_sample_rate("clicks", 0.002)
    _log(client, "clicks", *(f"key_{n}" for n in range(20_000)))
    server.hset(wire.APPLICATIONS_KEY, "clicks", wire.encode(wire.Application(sample_rate=0.01)))
    for record in server.scan_iter(wire.record_key("clicks", "*"), count=1_000):
        for field, value in server.hgetall(record).items():
            event = msgspec.json.decode(value, type=wire.Prediction)
            event.logged_at += timedelta(minutes=12)
            server.hset(record, field, wire.encode(event))


def _plant_silence(client: joinback.Client, settings: Settings, server: Any) -> None:
    """Labels came each hour for a week, and stopped five hours ago; three events were lost beside."""
    _log(client, "ads", *(f"ad_{n}" for n in range(5)))
    _log(client, "ads", "ad_1", clicked=True)
    _drain(client, settings)
    server.hincrby(wire.stats_key("ads"), "received:prediction", 3)
    history = wire.history_key("ads")
    ((_, fields),) = server.xrevrange(history, count=1)
    now_s = int(datetime.now(UTC).timestamp())
    noted = {
        b"feedback_at_s": now_s - 5 * HOUR_S,
        b"feedback_first_s": now_s - 168 * HOUR_S,
        b"feedback_silence_max_s": HOUR_S,
    }
    server.xadd(history, fields | noted)


def _plant_workers(server: Any) -> None:
    """The last worker ended an hour ago; the sink of one application was away then. A service told what it dropped."""
    at = datetime.now(UTC) - timedelta(seconds=HOUR_S + 60)
    for field, value in server.hgetall(wire.DRAINS_KEY).items():
        done = msgspec.json.decode(value, type=LastDrain)
        server.hset(wire.DRAINS_KEY, field, msgspec.json.encode(structs.replace(done, at=at, worker="host-a:4711")))
    failed = structs.replace(done, at=at + timedelta(seconds=1), error="the sink is away", sink_lost=True)
    server.hset(wire.DRAINS_KEY, wire.drain_field("ads", is_done=False), msgspec.json.encode(failed))
    drops = {b"process": b"p", b"number": b"1", b"host": b"web-3", b"service": b"scoring"}
    server.xadd(wire.DROPS_KEY, drops | {wire.drop_field("buffer_full", "loans"): b"1204"})
    server.expire(wire.DROPS_KEY, 600)


def _plant_memory(server: Any) -> None:
    server.config_set("maxmemory-policy", "volatile-ttl")
    server.config_set("maxmemory", int(server.info("memory")["used_memory"] / 0.9))


def main() -> None:
    from joinback_worker.embedded import embedded_valkey

    with embedded_valkey() as url, tempfile.TemporaryDirectory() as folder, redis.Redis.from_url(url) as server:
        settings = plant(Settings(redis_url=url, sink_url=f"sqlite:///{folder}/joinback.db"), server)
        names = {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": settings.sink_url, "JOINBACK_CONFIG": settings.config}
        environment = os.environ | {name: str(value) for name, value in names.items()} | {"COLUMNS": "80"}
        for command in dict.fromkeys(trouble.command for trouble in TROUBLES):
            print("$ joinback", *command, flush=True)
            subprocess.run([sys.executable, "-m", "joinback_worker", *command], env=environment, check=False)


if __name__ == "__main__":
    main()
