"""An erasure at any step of a drain, and a worker killed at any later one: nothing of the erased keys comes back.

The erased keys have each kind of trouble that a drain tells of, as dead letters hold what was logged, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import model
import msgspec
import pytest
import redis
from events import at, feedback, prediction
from faulty import TAG, Fault, Faults, faulty_cycle
from redis.asyncio import Redis

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.source import Source
from joinback_worker.law.rules import Policy
from joinback_worker.notes.layouts import Layout
from joinback_worker.operating.erasing import Scope, erase
from joinback_worker.sinks import open_sink

DAY = 86_400
Events = dict[str, bytes]

KEPT: dict[str, Events] = {
    "joined": {"prediction:p": prediction(0), "feedback:f": feedback(60, a=1)},
    "waiting": {"prediction:p": prediction(0, outputs=2)},
    "orphan": {"feedback:f": feedback(60, a=1)},
    "late": {"prediction:p": prediction(0), "feedback:f": feedback(200 * DAY, a=1)},
}
ERASED: dict[str, Events] = {f"{key} of Ada": events for key, events in KEPT.items()}
TROUBLED = {"torn of Ada", "gone of Ada", "taken of Ada", "newer of Ada"}
LATER: Events = {"feedback:later": feedback(90, a=2), "prediction:later": prediction(1)}


def write(server: redis.Redis, records: dict[str, Events]) -> None:
    events = [(key, field, body) for key, fields in records.items() for field, body in fields.items()]
    keys = wire.write_keys(TAG, (key for key, _, _ in events))
    arguments = wire.write_arguments(TAG, 600, ((field, body) for _, field, body in events))
    server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)


def write_all(server: redis.Redis) -> None:
    """What stays and what goes, in turns; the records of some are then hurt."""
    both = zip(KEPT.items(), ERASED.items(), strict=True)
    write(server, dict(record for pair in both for record in pair))
    newer = {"prediction:p": prediction(0, v=99)}
    write(server, {key: newer if key.startswith("newer") else {"feedback:f": feedback(5)} for key in sorted(TROUBLED)})
    server.hset(wire.record_key(TAG, "torn of Ada"), "feedback:f", b'{"v":1,"at":')
    server.delete(wire.record_key(TAG, "gone of Ada"), wire.record_key(TAG, "taken of Ada"))
    server.set(wire.record_key(TAG, "taken of Ada"), "somebody's", ex=600)


class Scene:
    """One Redis and one sink file, from empty, for one run."""

    def __init__(self, settings: Settings, buffer: Redis, server: redis.Redis) -> None:
        self.settings = settings
        self.buffer = buffer
        self.server = server
        self.is_erased = False

    async def work(self, faults: Faults, lease_s: float = 60.0) -> None:
        await faulty_cycle(self.settings, self.buffer, faults, lease_s)

    async def erase(self) -> None:
        scope = Scope(application="loans", layout=Layout(), policy=Policy(), join_keys={*ERASED, *TROUBLED})
        erased = await erase(self.buffer, self.settings, scope)
        assert not erased.failed
        self.is_erased = True

    async def check(self) -> None:
        """What was left pending is drained by another worker, whose leases have all run out."""
        if not self.is_erased:
            # The drain had fewer calls than another one, or died before the one in question.
            await self.erase()
        await self.work(Faults(), lease_s=0)
        await self.look()
        write(self.server, dict.fromkeys([*ERASED, *TROUBLED], LATER))
        await self.work(Faults(), lease_s=0)
        await self.look()

    async def look(self) -> None:
        for text in self.held():
            assert b"Ada" not in text
        async with open_sink(self.settings.sink_url) as sink:
            found = {record.join_key async for page in sink.records() for record in page}
            rows = await sink.get("loans", sorted(found))
        assert {key: model.parts(partial(getattr, row)) for key, row in rows.items()} == expected()
        books = await Source(self.buffer, TAG).accounting()
        assert (books.difference, books.pending) == (0, 0), books

    def held(self) -> Iterator[bytes]:
        """All that Redis holds, keys too."""
        for key in self.server.keys("*"):
            yield key
            kind = self.server.type(key)
            if kind == b"hash":
                yield from (part for pair in self.server.hgetall(key).items() for part in pair)
            elif kind == b"stream":
                entries = self.server.xrange(key)
                yield from (part for _, fields in entries for pair in fields.items() for part in pair)
            else:
                yield self.server.get(key)


def expected() -> dict[str, Any]:
    return {key: model.row({f: _decoded(body) for f, body in events.items()}) for key, events in KEPT.items()}


def _decoded(body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = msgspec.json.decode(body)
    return event | {name: msgspec.convert(event[name], type=type(at(0))) for name in ("at", "logged_at")}


Run = Callable[[Callable[[Scene], Awaitable[None]]], None]


@pytest.fixture
def run(settings: Settings, server: redis.Redis, tmp_path: Path) -> Run:
    """Run a scene from empty: written, played, checked."""

    def run(play: Callable[[Scene], Awaitable[None]]) -> None:
        server.flushall()
        for file in tmp_path.glob("joinback.db*"):
            file.unlink()
        write_all(server)

        async def scene() -> None:
            buffer = connect(settings)
            try:
                stage = Scene(settings, buffer, server)
                await play(stage)
                await stage.check()
            finally:
                await buffer.aclose()

        asyncio.run(scene())

    return run


def calls_of(run: Run) -> int:
    """How many calls to the outside a drain makes while others erase at its middle."""
    faults = Faults()

    async def play(scene: Scene) -> None:
        await scene.work(faults)
        await scene.erase()

    run(play)
    return faults.calls


def test_erased_before_or_after_a_drain(run: Run) -> None:
    """What was never drained leaves no row, and what was drained loses its own."""
    assert calls_of(run) > 15

    async def before(scene: Scene) -> None:
        await scene.erase()
        await scene.work(Faults())

    run(before)


def test_erased_at_every_step_of_a_drain(run: Run) -> None:
    """Between any two calls of a worker all of a key is erased, and that very drain leaves nothing of it."""
    for number in range(1, calls_of(run) + 1):
        run(lambda scene, number=number: scene.work(Faults(meanwhile=(number, scene.erase))))


@pytest.mark.parametrize("fault", ["die before", "die after", "lose reply"])
def test_erased_and_killed_at_the_same_step(run: Run, fault: Fault) -> None:
    """The worker that knew the key's record dies at once: the next one takes away what it had written."""
    for number in range(1, calls_of(run) + 1):
        run(lambda scene, number=number: scene.work(Faults(number, fault, meanwhile=(number, scene.erase))))


@pytest.mark.heavy
def test_erased_at_every_step_and_killed_at_every_later_one(run: Run) -> None:
    """To die before a call is to die after the one before it."""
    # An erasure makes a drain longer: it then deletes, asks and settles again.
    calls = calls_of(run) + 10
    points = [(between, dies) for between in range(1, calls + 1) for dies in range(between, calls + 1)]
    for between, dies in points:
        run(lambda scene, b=between, d=dies: scene.work(Faults(d, "die after", meanwhile=(b, scene.erase))))
