"""Every place a worker can die in, and every place another can come between: the rows are the model's.

The workload touches each kind of event and each kind of trouble. A cycle's calls to Redis and to the sink are
numbered; for each number and each fault the cycle runs again from the start, fails there, and another worker
finishes. The same with a second worker that takes the claims over and drains all of it in between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import model
import msgspec
import pytest
import redis
from events import at, feedback, prediction, retraction
from faulty import FAULTS, SETTLED_TTL_S, TAG, Fault, Faults, faulty_cycle
from redis.asyncio import Redis

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.source import Source
from joinback_worker.notes.accounting import Accounting
from joinback_worker.sinks import open_sink

DAY = 86_400

Workload = dict[str, dict[str, bytes]]

GOOD: Workload = {
    "plain": {"prediction:p": prediction(0), "feedback:f": feedback(60, a=1)},
    "waiting": {"prediction:p": prediction(0, outputs=2)},
    "early": {"feedback:f": feedback(-60, a=1), "prediction:p": prediction(0)},
    "orphan": {"feedback:f": feedback(60, a=1), "feedback:g": feedback(70, b=2)},
    "conflict": {"prediction:q": prediction(5, outputs="later"), "prediction:p": prediction(0, outputs="first")},
    "retracted": {
        "prediction:p": prediction(0),
        "feedback:f": feedback(60, a=1, b=2),
        "retraction:r": retraction(70, ["a"]),
        "feedback:g": feedback(80, c=3),
    },
    "named": {
        "prediction:p": prediction(0),
        "feedback:f": feedback(60, a=1),
        "feedback:g": feedback(70, "human", a=2),
        "retraction:r": retraction(80, event_ids=["g"]),
    },
    "undone": {
        "prediction:p": prediction(0),
        "feedback:f": feedback(60, a=1, b=2),
        "retraction:r": retraction(70, ["a"], event_ids=["f"]),
        "retraction:u": retraction(80, retraction_ids=["r"]),
    },
    "late": {"prediction:p": prediction(0), "feedback:f": feedback(200 * DAY, a=1)},
    "skewed": {
        "prediction:p": prediction(0),
        "feedback:f": msgspec.json.encode({"v": 1, "at": at(999_999), "logged_at": at(10), "feedback": {"a": "wild"}}),
        "feedback:g": feedback(20, a="sane"),
    },
}
TORN = b'{"v":1,"at":'


def expected() -> dict[str, Any]:
    return {key: model.row({f: _decoded(body) for f, body in events.items()}) for key, events in GOOD.items()}


def _decoded(body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = msgspec.json.decode(body)
    for name in ("at", "logged_at"):
        event[name] = msgspec.convert(event[name], type=type(at(0)))
    return event


def write(server: redis.Redis) -> None:
    """The workload as clients write it, a duplicate included; then what else can happen to a Redis."""
    events = [(key, field, body) for key, fields in GOOD.items() for field, body in fields.items()]
    events += [("torn", "feedback:t", feedback(1, a=1)), ("torn", "prediction:p", prediction(0))]
    events += [("gone", "feedback:f", feedback(1)), ("taken", "prediction:p", prediction(0))]
    events += events[:3]
    keys = wire.write_keys(TAG, (key for key, _, _ in events))
    arguments = wire.write_arguments(TAG, 600, ((field, body) for _, field, body in events))
    server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
    server.hset(wire.record_key(TAG, "torn"), "feedback:t", TORN)
    server.delete(wire.record_key(TAG, "gone"))
    server.set(wire.record_key(TAG, "taken"), "somebody's", ex=600)


class Scene:
    """One Redis and one sink file, from empty, for one run."""

    def __init__(self, settings: Settings, buffer: Redis) -> None:
        self.settings = settings
        self.buffer = buffer

    async def work(self, faults: Faults, lease_s: float = 60.0) -> None:
        await faulty_cycle(self.settings, self.buffer, faults, lease_s)

    async def take_over(self) -> None:
        """Another worker, for whom every lease has run out; then Redis lets go of what is settled."""
        await self.work(Faults(), lease_s=0)
        await self.expire_settled()

    async def expire_settled(self) -> None:
        """As if SETTLED_TTL_S had passed, whatever anybody still holds of those records."""
        async for key in self.buffer.scan_iter(match=wire.record_key(TAG, "*")):
            if 0 < await self.buffer.ttl(key) <= SETTLED_TTL_S:
                await self.buffer.delete(key)

    async def check(self) -> None:
        """A last drain finds little or nothing to do; then the rows are the model's and the books balance."""
        await self.expire_settled()
        await self.take_over()
        async with open_sink(self.settings.sink_url) as sink:
            rows = await sink.get("loans", [*GOOD, "torn", "gone", "taken"])
        torn = rows.pop("torn")
        assert (torn.status, torn.feedback_events) == ("predicted", None)
        assert {key: model.parts(partial(getattr, row)) for key, row in rows.items()} == expected()
        books = await Source(self.buffer, TAG).accounting()
        assert_books(books)


def assert_books(books: Accounting) -> None:
    assert books.difference == 0, books
    events = sum(map(len, GOOD.values()))
    assert (books.pending, books.duplicates) == (0, 3)
    assert books.dead_by_reason == {"undecodable": 1, "record_missing": 1, "wrong_type": 1, "after_window": 1}
    assert books.in_rows == events + 1 - 1  # torn's prediction, less the late feedback
    assert books.received == events + 4 + 3


@pytest.fixture
def run(
    settings: Settings, server: redis.Redis, tmp_path: Path
) -> Callable[[Callable[[Scene], Awaitable[None]]], None]:
    """Run a scene from empty: written, played, checked."""

    def run(play: Callable[[Scene], Awaitable[None]]) -> None:
        server.flushall()
        for file in tmp_path.glob("joinback.db*"):
            file.unlink()
        write(server)

        async def scene() -> None:
            buffer = connect(settings)
            try:
                stage = Scene(settings, buffer)
                await play(stage)
                await stage.check()
            finally:
                await buffer.aclose()

        asyncio.run(scene())

    return run


def clean_calls(run: Any) -> int:
    """How many calls to the outside an undisturbed cycle makes."""
    faults = Faults()
    run(lambda scene: scene.work(faults))
    return faults.calls


def test_an_undisturbed_cycle(run: Any) -> None:
    """The workload itself: rows and books are the model's, and there is something to crash in."""
    assert clean_calls(run) > 15


@pytest.mark.parametrize("fault", FAULTS)
def test_every_crash_point_of_one_worker(run: Any, fault: Fault) -> None:
    """Wherever a worker dies or fails, the next one ends with the model's rows and balanced books."""
    calls = clean_calls(run)
    for number in range(1, calls + 1):
        run(lambda scene, number=number: scene.work(Faults(number, fault)))
    print(f"{calls} crash points, {fault}")


def test_every_split_between_a_dead_worker_and_another(run: Any) -> None:
    """A worker claims so many entries and dies; another drains the rest, whose records are then settled and expire.

    When the dead one's lease is over, what it held is in rows, and nothing is told as lost.
    """
    entries = len([field for fields in GOOD.values() for field in fields]) + 4
    for number in range(1, entries):

        async def play(scene: Scene, number: int = number) -> None:
            pending = wire.pending_key(TAG)
            await scene.buffer.xreadgroup(wire.GROUP, "died", {pending: ">"}, count=number)
            await scene.work(Faults())

        run(play)


def test_every_interleaving_with_a_second_worker(run: Any) -> None:
    """Between any two calls of a worker another takes its claims over and drains all: a zombie harms nothing."""
    calls = clean_calls(run)
    for number in range(1, calls + 1):
        run(lambda scene, number=number: scene.work(Faults(meanwhile=(number, scene.take_over))))
    print(f"{calls} interleavings")


@pytest.mark.heavy
def test_every_crash_point_of_a_zombie(run: Any) -> None:
    """A worker that was taken over at any call, and then dies after that one or any later, harms nothing either.

    To die before a call is to die after the one before it.
    """
    calls = clean_calls(run)
    points = [(between, dies) for between in range(1, calls + 1) for dies in range(between, calls + 1)]
    for between, dies in points:
        run(lambda scene, b=between, d=dies: scene.work(Faults(d, "die after", meanwhile=(b, scene.take_over))))
    print(f"{len(points)} crash points of a zombie")
