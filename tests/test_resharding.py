"""Shards that change while clients write and workers drain: the rows are the model's, and the books see every tag."""

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import model
import msgspec
import pytest
import redis
from conftest import Cli, Stack
from events import prediction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_any_order import KEYS, WINDOW_S, Event, events

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drainer import Drainer, drain_all
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.notes.accounting import Accounting
from joinback_worker.notes.apps import change
from joinback_worker.notes.layouts import KEPT, all_tags, layouts
from joinback_worker.sinks import open_sink

APPLICATION = "loans"
SHARDS = [1, 2, 3, 4, 7]


class World:
    """One Redis, one sink file, clients that follow what is announced, and the model's dict of all events."""

    files = itertools.count()

    def __init__(self, server: redis.Redis, url: str, folder: str, emit: Any = "all") -> None:
        server.flushall()
        self.server = server
        sink_url = f"sqlite:///{folder}/reshard_{next(self.files)}.db"
        self.settings = Settings(redis_url=url, sink_url=sink_url, join_window_s=WINDOW_S, emit=emit)
        self.events: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.shards = 1
        self.server.hset(wire.APPLICATIONS_KEY, APPLICATION, wire.encode(wire.Application()))
        self.server.expire(wire.APPLICATIONS_KEY, 600)

    def write(self, batch: list[Event], shards: int) -> None:
        """As a client does that follows, or not yet."""
        by_tag: defaultdict[str, list[Event]] = defaultdict(list)
        for event in batch:
            by_tag[wire.tag_of(APPLICATION, event[0], shards)].append(event)
        for tag, some in by_tag.items():
            keys = wire.write_keys(tag, (key for key, _, _ in some))
            payloads = ((field, msgspec.json.encode(body)) for _, field, body in some)
            self.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments(tag, 600, payloads))
        for key, field, body in batch:
            self.events[key][field] = body

    def reshard(self, shards: int) -> None:
        async def run() -> None:
            buffer = connect(self.settings)
            try:
                await change(buffer, APPLICATION, shards=shards)
            finally:
                await buffer.aclose()

        asyncio.run(run())
        self.shards = shards

    def drain(self) -> None:
        assert asyncio.run(drain_all(self.settings)).error is None

    def forget(self, key: str) -> None:
        """The TTL of a record's halves runs out: only of those that were drained."""
        for tag in {wire.tag_of(APPLICATION, key, shards) for shards in SHARDS}:
            waiting = {fields[b"key"].decode() for _, fields in self.server.xrange(wire.pending_key(tag))}
            if key not in waiting:
                self.server.delete(wire.record_key(tag, key))

    def look(self) -> tuple[dict[str, Any], Accounting]:
        async def run() -> Any:
            buffer = connect(self.settings)
            try:
                books = Accounting()
                for _, tag in all_tags(await layouts(buffer)):
                    books += await Source(buffer, tag).accounting()
                async with open_sink(self.settings.sink_url) as sink:
                    return await sink.get(APPLICATION, KEYS), books
            finally:
                await buffer.aclose()

        rows, books = asyncio.run(run())
        return {key: model.parts(partial(getattr, row)) for key, row in rows.items()}, books


@pytest.fixture(scope="module")
def private_server() -> Iterator[tuple[redis.Redis, str]]:
    """A server of its own: each example empties it."""
    with embedded_valkey() as url, redis.Redis.from_url(url) as server:
        yield server, url


def play(world: World, data: st.DataObject, *, with_expiry: bool) -> None:
    """Log in batches, some of them twice, some by a client that has not followed yet; reshard and drain in between."""
    chosen = data.draw(st.lists(events(), min_size=1, max_size=12))
    again = data.draw(st.lists(st.sampled_from(chosen), max_size=4))
    order = data.draw(st.permutations(chosen + again))
    last = 1
    while order:
        size = data.draw(st.integers(1, len(order)))
        world.write(order[:size], data.draw(st.sampled_from([world.shards, last])))
        order = order[size:]
        if data.draw(st.booleans()):
            world.drain()
        if data.draw(st.booleans()):
            last = world.shards
            world.reshard(data.draw(st.sampled_from(SHARDS)))
        if with_expiry and data.draw(st.booleans()):
            world.forget(data.draw(st.sampled_from(KEYS)))
    world.drain()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_any_schedule_of_resharding(
    private_server: tuple[redis.Redis, str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is logged, drained, forgotten and spread anew in whatever order, the rows are the model's."""
    world = World(*private_server, str(tmp_path_factory.getbasetemp()))
    play(world, data, with_expiry=True)
    rows, books = world.look()
    assert rows == {key: model.row(events, WINDOW_S) for key, events in world.events.items()}
    assert books.difference == 0, books
    assert books.pending == 0
    assert set(books.dead_by_reason) <= {"after_window"}


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_any_schedule_with_joined_rows_only(
    private_server: tuple[redis.Redis, str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """With EMIT=joined too: a prediction under one tag and its feedback under another make a whole row."""
    world = World(*private_server, str(tmp_path_factory.getbasetemp()), "joined")
    play(world, data, with_expiry=False)
    rows, books = world.look()

    def sides(key: str) -> set[str]:
        return {field.partition(":")[0] for field in world.events[key]}

    two_sided = {key: events for key, events in world.events.items() if {"prediction", "feedback"} <= sides(key)}
    assert rows == {key: model.row(events, WINDOW_S) for key, events in two_sided.items()}
    assert books.difference == 0, books
    assert books.pending == 0


def test_the_backlog_under_the_former_shards(stack: Stack, cli: Cli) -> None:
    """Shards are raised, then lowered, with events pending: the command sees and drains those of every number."""
    log_some(stack, "first")
    assert cli("apps", "set", "loans", "--shards", "4").stdout == "loans: shards 4\n"
    log_some(stack, "second")
    assert cli("apps", "set", "loans", "--shards", "2").returncode == 0
    log_some(stack, "third")
    status = json.loads(cli("status", "--json").stdout)["applications"]["loans"]
    assert (status["received"], status["pending"], status["difference"]) == (60, 60, 0)
    assert cli("drain").returncode == 0
    assert len(stack.rows()) == 60
    (app,) = json.loads(cli("apps", "--json").stdout)
    assert (app["shards"], app["former_shards"], app["pending"], app["records"]) == (2, [1, 4], 0, 60)


def test_shards_changed_by_hand(stack: Stack) -> None:
    """An operator who edits joinback:applications strands nothing either: the client notes what it wrote under."""
    log_some(stack, "first")
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":4,"sample_rate":1.0}')
    log_some(stack, "second")
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":2,"sample_rate":1.0}')
    log_some(stack, "third")
    assert stack.books().received == 60
    stack.drain()
    assert len(stack.rows()) == 60


def log_some(stack: Stack, name: str) -> None:
    """Twenty predictions, by a client that looks at the shards now, as each does once a minute."""
    client = joinback.Client().init(stack.settings.redis_url, strict=True)
    for n in range(20):
        client.log_record("loans", inputs=n, outputs=0, join_key=f"{name}_{n}")
    assert client.flush()
    client.close()


def test_feedback_joins_across_tags(stack: Stack) -> None:
    """With EMIT=joined the sink cannot help: the prediction's half is read where it was written."""
    log_some(stack, "loan")
    stack.drain(emit="joined")
    assert stack.rows() == []
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":16,"sample_rate":1.0}')
    client = joinback.Client().init(stack.settings.redis_url, strict=True)
    for n in range(20):
        client.log_record("loans", feedback={"repaid": True}, join_key=f"loan_{n}")
    assert client.flush()
    client.close()
    stack.drain(emit="joined")
    assert {row["status"] for row in stack.rows()} == {"joined"}
    assert len(stack.rows()) == 20


def test_two_changes_before_any_drain(stack: Stack) -> None:
    """Each change notes what was: events of clients that note nothing are found, though no worker saw their number."""
    for shards in (4, 2):
        for tag in wire.tags("loans", 4 if shards == 2 else 1):
            keys = wire.write_keys(tag, [tag])
            event = [("prediction:e", prediction())]
            stack.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments(tag, 600, event))
        asyncio.run(changed(stack, shards=shards))
    assert stack.books().received == 5
    assert stack.drain().rows == 5


def test_the_tag_without_shards_is_always_seen(stack: Stack) -> None:
    """With it each application begins: whoever raised the number, and whether or not anybody noted it."""
    log_some(stack, "first")
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":4}')
    assert stack.books().received == 20


def test_both_halves_are_settled(stack: Stack) -> None:
    """Once the sink has a record that lies under two tags, Redis lets go of both parts after the settled TTL."""
    log_some(stack, "loan")
    asyncio.run(changed(stack, shards=16))
    client = joinback.Client().init(stack.settings.redis_url, strict=True)
    client.log_record("loans", feedback={"repaid": True}, join_key="loan_3")
    assert client.flush()
    client.close()
    stack.drain(settled_ttl_s=77)
    for tag in ("loans", wire.tag_of("loans", "loan_3", 16)):
        assert 0 < stack.server.ttl(wire.record_key(tag, "loan_3")) <= 77
    assert stack.row("loan_3")["status"] == "joined"


def test_a_running_client_follows(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that lives on looks again each minute, and notes both numbers before it writes under the new one."""
    monkeypatch.setattr("joinback._delivery.announcer.RENEWAL_S", 0.0)
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush()
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":3,"sample_rate":1.0}')
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush()
    assert stack.server.xlen(wire.pending_key(wire.tag_of("loans", "a", 3))) == 1
    assert sorted(stack.server.hkeys(wire.LAYOUTS_KEY)) == [b"1:loans", b"3:loans"]


def test_a_worker_notes_a_change_by_hand(stack: Stack) -> None:
    """Yesterday's clients note nothing; a worker that saw the former number does, and each knows of one shard."""

    async def rounds() -> None:
        drainer = Drainer(stack.settings)
        try:
            for shards in (4, 2):
                stack.server.hset(wire.APPLICATIONS_KEY, "loans", f'{{"shards":{shards}}}')
                stack.server.expire(wire.APPLICATIONS_KEY, 600)
                assert (await drainer.round(60)).error is None
        finally:
            await drainer.aclose()

    asyncio.run(rounds())
    assert sorted(stack.server.hkeys(wire.LAYOUTS_KEY)) == [b"1:loans", b"2:loans", b"4:loans"]


def test_a_layout_ends_with_its_keys(stack: Stack) -> None:
    """A number of shards that was in use longer ago than any key lives is forgotten; so is no recent one."""
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":2}')
    stack.server.expire(wire.APPLICATIONS_KEY, 600)
    ago = {"4": KEPT + timedelta(hours=1), "8": KEPT - timedelta(hours=1)}
    now = datetime.now(UTC)
    for shards, age in ago.items():
        stack.server.hset(wire.LAYOUTS_KEY, f"{shards}:loans", (now - age).isoformat())
    stack.server.hset(wire.LAYOUTS_KEY, "x:loans", "nonsense")
    stack.server.expire(wire.LAYOUTS_KEY, 600)
    stack.drain()
    assert sorted(stack.server.hkeys(wire.LAYOUTS_KEY)) == [b"1:loans", b"2:loans", b"8:loans", b"x:loans"]


def test_a_full_redis_is_drained_from_former_shards_too(stack: Stack) -> None:
    """At maxmemory nothing can be noted, and what waits under a former number is drained all the same."""
    log_some(stack, "first")
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":4}')
    stack.server.expire(wire.APPLICATIONS_KEY, 600)
    stack.server.config_set("maxmemory", 1)
    assert asyncio.run(drain_all(stack.settings)).rows == 20
    stack.server.config_set("maxmemory", 0)


def test_a_change_leaves_the_rest(stack: Stack) -> None:
    """Shards and rate are changed apart, beside what a newer client may have written there."""
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":1,"sample_rate":0.5,"owner":"ads"}')
    asyncio.run(changed(stack, shards=8))
    asyncio.run(changed(stack, sample_rate=0.25))
    said = json.loads(stack.server.hget(wire.APPLICATIONS_KEY, "loans") or "")
    assert said == {"shards": 8, "sample_rate": 0.25, "owner": "ads"}
    stack.server.hset(wire.APPLICATIONS_KEY, "loans", "nonsense")
    asyncio.run(changed(stack, shards=2))
    assert json.loads(stack.server.hget(wire.APPLICATIONS_KEY, "loans") or "") == {"shards": 2}


async def changed(stack: Stack, **to: Any) -> None:
    buffer = connect(stack.settings)
    try:
        await change(buffer, "loans", **to)
    finally:
        await buffer.aclose()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["loans"], "nothing to change"),
        (["loans", "--shards", "2000"], "2000 is not in the range"),
        (["loans", "--sample-rate", "nan"], "above 0 and at most 1"),
        (["loan", "--shards", "2"], "no application loan; did you mean loans? (--new"),
    ],
)
def test_a_wrong_change(stack: Stack, cli: Cli, arguments: list[str], says: str) -> None:
    """One line with the fix, exit code 2, and nothing changed."""
    asyncio.run(changed(stack, shards=1))
    done = cli("apps", "set", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert stack.server.hget(wire.APPLICATIONS_KEY, "loans") == b'{"shards":1}'


def test_what_apps_tells(stack: Stack, cli: Cli) -> None:
    """Shards, rate, the last event though it is drained, records, and memory near what Redis says of each key."""
    log_some(stack, "loan")
    stack.drain()
    (app,) = json.loads(cli("apps", "--json").stdout)
    held = sum(stack.server.memory_usage(key) or 0 for key in stack.server.scan_iter("joinback:{loans}:*"))
    assert app["records"] == 20
    assert 0.8 * held < app["memory_bytes"] < 1.2 * held
    assert datetime.now(UTC) - datetime.fromisoformat(app["last_event_at"]) < timedelta(minutes=5)
    shown = cli("apps").stdout
    assert "loans" in shown
    assert "KiB" in shown


def test_a_login_that_may_not_scan(stack: Stack, cli: Cli) -> None:
    """Without the right to SCAN the rest is told, and memory is a question mark."""
    log_some(stack, "loan")
    stack.server.acl_setuser("narrow", enabled=True, passwords=["+p"], keys=["joinback:*"], commands=["+@all", "-scan"])
    narrow = stack.settings.redis_url.replace("://", "://narrow:p@")
    try:
        (app,) = json.loads(cli("apps", "--json", JOINBACK_REDIS_URL=narrow).stdout)
    finally:
        stack.server.acl_deluser("narrow")
    assert (app["pending"], app["memory_bytes"]) == (20, None)
