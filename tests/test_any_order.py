"""The law, end to end: however events are split, ordered, repeated, drained and forgotten, the rows are the model's.

Hypothesis plays clients, workers and the passing of time on a real server and a real sink.
"""

import asyncio
import itertools
import os
import zlib
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any

import model
import msgspec
import pytest
import redis
from conftest import PATIENCE_S
from events import SOURCES, at
from faulty import FAULTS, Died, Fault, Faults, FaultyRedis, FaultySink
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis.exceptions import RedisError
from ruled import file, policy

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.pace import Pace
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.sinks import open_sink

APPLICATION = "loans"
WINDOW_S = 500
SETTLED_TTL_S = 300
KEYS = ["k0", "k1", "k2"]
SCHEDULES, LIVES = int(os.environ.get("SCHEDULES", "100")), int(os.environ.get("LIVES", "60"))
"""How many to try; the nightly run sets more."""

Event = tuple[str, str, dict[str, Any]]
"""Join key, field, event."""

_seconds = st.integers(-600, 600)
_values = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, 1, "x", "12", [True]]), min_size=1)
_bodies = {
    "prediction": st.fixed_dictionaries({"inputs": st.integers(0, 3), "outputs": st.integers(0, 3)}),
    "feedback": st.fixed_dictionaries({"feedback": _values}, optional={"source": st.sampled_from(SOURCES[1:])}),
    "retraction": st.fixed_dictionaries({"fields": st.none() | st.lists(st.sampled_from("abc"), unique=True)}),
}
RULES: dict[str, Any] = {
    "join_window_s": WINDOW_S,
    "labels": ["a", "b"],
    "feedback": {"a": {"sources": ["human", "rule"]}, "b": {"type": "int", "reducer": "sum"}},
}


@st.composite
def some(draw: st.DrawFn) -> Event:
    """An event; its id follows from its content, since an id names one event for ever."""
    kind = draw(st.sampled_from(sorted(_bodies)))
    happened, logged = draw(_seconds), draw(_seconds)
    drawn = draw(_bodies[kind])
    body = {"v": 2 if "source" in drawn else 1, "at": at(happened), "logged_at": at(logged)} | drawn
    return draw(st.sampled_from(KEYS)), f"{kind}:{zlib.crc32(repr(body).encode()):08x}", body


def that_name_each_other() -> list[Event]:
    """Feedback, retractions of it by name, and retractions of those, some of them of each other."""
    random = Random(17)
    times = [{"v": 2, "at": at(random.randint(-600, 600)), "logged_at": at(600)} for _ in range(24)]
    said = [time | {"v": 1, "feedback": {random.choice("abc"): n}} for n, time in enumerate(times[:12])]
    made = [(f"feedback:f{n}", body) for n, body in enumerate(said)]
    for n, time in enumerate(times[12:]):
        named = {"event_ids": [f"f{random.randrange(12)}" for _ in range(3)], "fields": random.choice([None, ["a"]])}
        undone = {"retraction_ids": [f"r{random.randrange(12)}" for _ in range(2)], "fields": None}
        made.append((f"retraction:r{n}", time | (named if n < 6 else undone)))
    return [(key, field, body) for key in KEYS for field, body in made]


def events() -> st.SearchStrategy[Event]:
    return some() | st.sampled_from(that_name_each_other())


class World:
    """One Redis, one sink file, and the model's dict of all events that Redis ever acknowledged."""

    files = itertools.count()

    def __init__(self, server: redis.Redis, url: str, folder: str) -> None:
        server.flushall()
        self.server = server
        self.settings = Settings(
            redis_url=url, sink_url=f"sqlite:///{folder}/{next(self.files)}.db", config=file(folder, loans=RULES)
        )
        self.policy = policy(**RULES)
        self.events: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.tag = wire.tag(APPLICATION)

    def write(self, batch: list[Event]) -> None:
        keys = wire.write_keys(self.tag, (key for key, _, _ in batch))
        payloads = ((field, msgspec.json.encode(body)) for _, field, body in batch)
        self.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments(self.tag, 600, payloads))
        for key, field, body in batch:
            self.events[key][field] = body

    def log(self, client: joinback.Client, batch: list[Event]) -> None:
        """The same through a real client, whose own clock is far ahead of every event's time."""
        for key, field, body in batch:
            kind, _, event_id = field.partition(":")
            named = {"event_id": f"c{event_id}", "timestamp": body["at"]}
            if kind == "retraction":
                said = {name: body[name] for name in ("fields", "event_ids", "retraction_ids") if name in body}
                client.retract(APPLICATION, key, **said, **named)
            else:
                sides = {name: body[name] for name in ("inputs", "outputs", "feedback", "source") if name in body}
                client.log_record(APPLICATION, join_key=key, **sides, **named)
            self.events[key][f"{kind}:c{event_id}"] = body | {"logged_at": body["at"]}
        assert client.flush(PATIENCE_S)

    def drain(self, faults: Faults | None = None, lease_s: float = 0) -> None:
        """A cycle by a worker for whom every older lease has run out; it may die or fail on the way."""
        asyncio.run(self._drain(faults or Faults(), lease_s))

    async def _drain(self, faults: Faults, lease_s: float = 0) -> None:
        buffer = connect(self.settings)
        try:
            async with open_sink(self.settings.sink_url, self.policy) as sink:
                source = Source(FaultyRedis(buffer, faults), self.tag, lease_s=lease_s, claim_entries=3)  # type: ignore[arg-type]
                await drain(
                    source,
                    FaultySink(sink, faults),  # type: ignore[arg-type]
                    APPLICATION,
                    settled_ttl_s=SETTLED_TTL_S,
                    rules=self.policy.rules,
                    pace=Pace(3),
                )
        except (Died, RedisError):
            pass
        finally:
            await buffer.aclose()

    def forget(self, key: str) -> None:
        """A record's TTL runs out: only after it was drained, else Redis would have lost it, and said so."""
        waiting = {fields[b"key"].decode() for _, fields in self.server.xrange(wire.pending_key(self.tag))}
        if key not in waiting:
            self.server.delete(wire.record_key(self.tag, key))

    def expire_settled(self, key: str) -> None:
        """A settled record's TTL runs out, whoever has claimed an entry of it or has yet to."""
        record = wire.record_key(self.tag, key)
        if 0 < self.server.ttl(record) <= SETTLED_TTL_S:
            self.server.delete(record)

    def check(self) -> None:
        """Two clean drains later, every row is the model's and the books balance."""
        self.drain()
        self.drain()
        rows, books = asyncio.run(self._look())
        expected = {key: model.row(events, rules=RULES) for key, events in self.events.items()}
        assert {key: model.parts(partial(getattr, row)) for key, row in rows.items()} == expected
        assert books.difference == 0, books
        assert books.pending == 0
        assert set(books.dead_by_reason) <= {"after_window"}

    async def _look(self) -> Any:
        buffer = connect(self.settings)
        try:
            async with open_sink(self.settings.sink_url, self.policy) as sink:
                return await sink.get(APPLICATION, KEYS), await Source(buffer, self.tag).accounting()
        finally:
            await buffer.aclose()


@pytest.fixture(scope="module")
def private_server() -> Iterator[tuple[redis.Redis, str]]:
    """A server of its own: the machine empties it for each run."""
    with embedded_valkey() as url, redis.Redis.from_url(url) as server:
        yield server, url


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=SCHEDULES)
@given(st.data())
def test_any_partition_order_and_repetition(
    private_server: tuple[redis.Redis, str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The same events in any order, in any batches, some twice, with drains and expiries in between: the same rows."""
    chosen = data.draw(st.lists(events(), min_size=1, max_size=12))
    again = data.draw(st.lists(st.sampled_from(chosen), max_size=4))
    world = World(*private_server, str(tmp_path_factory.getbasetemp()))
    order = data.draw(st.permutations(chosen + again))
    while order:
        size = data.draw(st.integers(1, len(order)))
        world.write(order[:size])
        order = order[size:]
        if data.draw(st.booleans()):
            world.drain()
        if data.draw(st.booleans()):
            world.forget(data.draw(st.sampled_from(KEYS)))
        if data.draw(st.booleans()):
            world.expire_settled(data.draw(st.sampled_from(KEYS)))
    world.check()


class Life(RuleBasedStateMachine):
    """Clients write, workers drain, die and fail, records expire, operators meddle: in any order."""

    server: tuple[redis.Redis, str]
    folder: str
    client: joinback.Client

    @initialize()
    def begin(self) -> None:
        self.world = World(*self.server, self.folder)

    @rule(batch=st.lists(events(), min_size=1, max_size=4))
    def write(self, batch: list[Event]) -> None:
        self.world.write(batch)

    @rule(batch=st.lists(events(), min_size=1, max_size=4))
    def log(self, batch: list[Event]) -> None:
        self.world.log(self.client, batch)

    @rule()
    def drain(self) -> None:
        self.world.drain()

    @rule(count=st.integers(1, 4))
    def claim_and_die(self, count: int) -> None:
        pending = wire.pending_key(self.world.tag)
        if self.world.server.exists(pending) and self.world.server.xinfo_groups(pending):
            self.world.server.xreadgroup(wire.GROUP, "died", {pending: ">"}, count=count)

    @rule()
    def drain_what_nobody_claimed(self) -> None:
        self.world.drain(lease_s=3_600)

    @rule(call=st.integers(1, 20), fault=st.sampled_from(FAULTS))
    def drain_with_a_fault(self, call: int, fault: Fault) -> None:
        self.world.drain(Faults(call, fault))

    @rule(call=st.integers(1, 20), batch=st.lists(events(), min_size=1, max_size=3))
    def write_during_a_drain(self, call: int, batch: list[Event]) -> None:
        async def meanwhile() -> None:
            self.world.write(batch)

        faults = Faults(meanwhile=(call, meanwhile))
        self.world.drain(faults)
        if faults.calls < call:
            self.world.write(batch)

    @rule(call=st.integers(1, 20), then=st.integers(0, 10), fault=st.sampled_from(FAULTS))
    def drain_by_two(self, call: int, then: int, fault: Fault) -> None:
        world = self.world
        self.world.drain(Faults(call + then, fault, meanwhile=(call, lambda: world._drain(Faults()))))

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: str) -> None:
        self.world.forget(key)

    @rule(key=st.sampled_from(KEYS))
    def expire_settled(self, key: str) -> None:
        self.world.expire_settled(key)

    @rule(call=st.integers(1, 20), key=st.sampled_from(KEYS))
    def expire_settled_during_a_drain(self, call: int, key: str) -> None:
        async def meanwhile() -> None:
            self.world.expire_settled(key)

        self.world.drain(Faults(meanwhile=(call, meanwhile)))

    @rule()
    def lose_the_group(self) -> None:
        pending = wire.pending_key(self.world.tag)
        if self.world.server.exists(pending):
            self.world.server.xgroup_destroy(pending, wire.GROUP)

    @rule()
    def flush_scripts(self) -> None:
        self.world.server.script_flush()

    @invariant()
    def nothing_lives_for_ever(self) -> None:
        world = getattr(self, "world", None)
        if world:
            assert all(world.server.ttl(key) > 0 for key in world.server.scan_iter("joinback:*"))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


def test_any_life(private_server: tuple[redis.Redis, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happens in whatever order, two undisturbed drains later the rows are the model's."""
    Life.server = private_server
    Life.folder = str(tmp_path_factory.getbasetemp())
    Life.client = joinback.Client().init(private_server[1], strict=True)
    try:
        run_state_machine_as_test(Life, settings=settings(max_examples=LIVES, stateful_step_count=25))
    finally:
        Life.client.close()
