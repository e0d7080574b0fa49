"""A flush returns True once all that was logged before it has ended, whatever is logged meanwhile."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S
from front import Command, Front

import joinback
from joinback import wire
from joinback._delivery import aside, attempts
from joinback._delivery.buffer import Buffer
from joinback._delivery.places import NOWHERE, Places
from joinback._delivery.plain import Buffered
from joinback._delivery.rates import Rates
from joinback._delivery.sender import Sender
from joinback.options import Options

NOT_YET_S = 0.3
"""How long a wrong flush has to show itself. A right one never does, however slow the machine is."""

WaitUntil = Callable[..., None]


@pytest.fixture
def front(server: redis.Redis) -> Iterator[Front]:
    with Front(server.connection_pool.connection_kwargs["port"]) as front:
        yield front


@pytest.fixture
def client(front: Front) -> Iterator[joinback.Client]:
    client = joinback.Client().init(front.url)
    yield client
    front.answer = lambda command: None
    client.close()


FlushOf = Callable[[joinback.Client, float], bool]


def _flush(client: joinback.Client, timeout_s: float) -> bool:
    return client.flush(timeout_s)


def _aflush(client: joinback.Client, timeout_s: float) -> bool:
    return asyncio.run(client.aflush(timeout_s))


@pytest.fixture(params=[_flush, _aflush])
def flush_of(request: pytest.FixtureRequest) -> FlushOf:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def begun(flush_of: FlushOf, client: joinback.Client) -> "Callable[[], Waiting]":
    return lambda: Waiting(client, flush_of)


class Waiting:
    """A flush, `aflush` or close in a thread of its own, which has begun."""

    def __init__(self, client: joinback.Client, call: FlushOf) -> None:
        begun = threading.Event()
        buffer = client._funnel._buffer
        hurry = buffer.hurry
        buffer.hurry = lambda: (hurry(), begun.set())[0]  # type: ignore[method-assign, func-returns-value]
        self._results: list[bool] = []
        self._thread = threading.Thread(target=lambda: self._results.append(call(client, PATIENCE_S)))
        self._thread.start()
        assert begun.wait(PATIENCE_S)
        buffer.hurry = hurry  # type: ignore[method-assign]

    def is_over(self) -> bool:
        self._thread.join(NOT_YET_S)
        return not self._thread.is_alive()

    def result(self) -> bool:
        self._thread.join(PATIENCE_S)
        return self._results == [True]


def writes(command: Command, application: str) -> bool:
    return command[0] in (b"EVALSHA", b"EVAL") and wire.pending_key(wire.tag(application)).encode() in command


def log(client: joinback.Client, application: str, *keys: str) -> None:
    for key in keys:
        client.log_record(application, inputs=1, outputs=2, join_key=key)


class Held:
    """Writes of an application that Redis gets only after `release`."""

    def __init__(self, application: str) -> None:
        self.came, self._released = threading.Event(), threading.Event()
        self._application = application

    def __call__(self, command: Command) -> None:
        if writes(command, self._application):
            self.came.set()
            assert self._released.wait(PATIENCE_S)

    def release(self) -> None:
        self._released.set()


def test_all_applications_of_a_batch(client: joinback.Client, front: Front, begun: Callable[[], Waiting]) -> None:
    """Later events of one application that are written do not stand for an earlier one of another that is not."""
    log(client, "ads", "first")
    log(client, "loans", "first")
    assert client.flush(PATIENCE_S)
    ads, loans = Held("ads"), Held("loans")
    front.answer = lambda command: ads(command) or loans(command)
    log(client, "ads", "second")
    assert ads.came.wait(PATIENCE_S)
    # One batch, of which `ads` is written first.
    log(client, "ads", "before")
    log(client, "loans", "before")
    flush = begun()
    log(client, "ads", *(f"after_{n}" for n in range(10)))
    ads.release()
    assert loans.came.wait(PATIENCE_S)
    assert not flush.is_over()
    loans.release()
    assert flush.result()


def test_an_application_that_is_refused(
    client: joinback.Client, front: Front, begun: Callable[[], Waiting], wait_until: WaitUntil
) -> None:
    """While Redis refuses an event that was logged before, the flush waits, however much else is written."""
    refusing = True
    front.answer = lambda command: b"-ERR no\r\n" if refusing and writes(command, "loans") else None
    log(client, "loans", "before")
    flush = begun()
    log(client, "ads", *(f"after_{n}" for n in range(100)))
    wait_until(lambda: client.stats()["sent"] == 100)
    assert not flush.is_over()
    refusing = False
    assert flush.result()


def test_predictions_that_were_held_back(
    client: joinback.Client,
    front: Front,
    server: redis.Redis,
    begun: Callable[[], Waiting],
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
) -> None:
    """Predictions that wait while Redis is nearly full are waited for until they are written."""
    monkeypatch.setattr(attempts, "PAUSE_CHECK_S", 0.0)
    server.set(wire.PAUSED_KEY, 1, ex=3600)
    log(client, "loans", "before")
    flush = begun()
    for n in range(10):
        client.log_record("loans", feedback={"n": n}, join_key="before")
    wait_until(lambda: client.stats()["sent"] == 10)
    assert not flush.is_over()
    held = Held("loans")
    front.answer = lambda command: held(command)
    server.delete(wire.PAUSED_KEY)
    # The sender looks again when something comes.
    client.log_record("loans", feedback={"n": 10}, join_key="before")
    assert held.came.wait(PATIENCE_S)
    assert not flush.is_over()
    held.release()
    assert flush.result()


def test_a_service_that_logs_without_pause(client: joinback.Client, front: Front) -> None:
    """A flush ends though there is no moment at which nothing is under way."""

    def log_one_more(command: Command) -> None:
        if writes(command, "loans"):
            log(client, "loans", "again")

    front.answer = log_one_more
    log(client, "loans", "before")
    assert client.flush(PATIENCE_S)


def test_a_loss_is_reported_once(front: Front, flush_of: FlushOf) -> None:
    """The flush after a loss returns False, also if its time runs out; the next one does not report it again."""
    client = joinback.Client().init(front.url, buffer_events_max=10)
    front.answer = lambda command: b"-ERR no\r\n" if writes(command, "loans") else None
    log(client, "loans", *map(str, range(20)))
    assert client.stats()["dropped"]["buffer_full"]
    assert not flush_of(client, 0.0)
    front.answer = lambda command: None
    assert flush_of(client, PATIENCE_S)
    client.close()


def test_a_close_during_another(front: Front) -> None:
    """The second one waits for the first, and returns the same; or False, if its time runs out before."""
    client = joinback.Client().init(front.url)
    held = Held("loans")
    front.answer = lambda command: held(command)
    log(client, "loans", "before")
    assert held.came.wait(PATIENCE_S)
    first = Waiting(client, joinback.Client.close)
    assert not client.close(0)
    held.release()
    assert client.close(PATIENCE_S)
    assert first.result()


class Writing:
    """In place of the attempts: the outcome of each is random, and while it is under way others log."""

    pause_at = 0.0

    def __init__(self, buffer: Buffer, random: Random) -> None:
        self._buffer = buffer
        self._random = random
        self.logged: list[str] = []
        self.ended: set[str] = set()
        self.failed = 0
        self.trouble = 0.6
        """The share of attempts that do not succeed."""

    def log(self, application: str) -> None:
        kind = self._random.choice(["prediction", "feedback"])
        key = str(len(self.logged))
        put_before = self._buffer.put_events
        self._buffer.put((application, key, f"{kind}:1", b"{}"), 2, kind == "prediction")
        if self._buffer.put_events > put_before:
            self.logged.append(key)

    def is_paused(self) -> bool:
        return self._random.random() < self.trouble / 2

    def write(self, application: str, events: Sequence[Buffered]) -> Any:
        for _ in events:
            self.log(application if self._random.random() < 0.5 else self._random.choice("abc"))
        self.look()
        self.failed = 0
        if self._random.random() < self.trouble:
            trouble = self._random.choice(["refused", "unreachable"])
            self.failed = int(trouble == "unreachable")
            return trouble
        self.ended.update(event[1] for event in events)
        return {}

    def look(self) -> None:
        """No flush that is over has an event that has not ended."""
        over = max(n for n in range(len(self.logged) + 1) if n == 0 or self._buffer.is_settled(n))
        assert self.ended.issuperset(self.logged[:over])


@pytest.mark.parametrize("seed", range(40))
def test_whatever_becomes_of_the_events(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Aside, held back, on disk or in hand: at each attempt no flush is over too early, and each ends in the end.

    It ends though each attempt leaves as many new events as it wrote, so that no queue is ever empty.
    """
    monkeypatch.setattr(aside, "BACKOFF_S_MAX", 0.0)
    random = Random(seed)
    spool_dir = str(tmp_path / "spool") if seed % 2 else None
    options = Options(redis_url="redis://127.0.0.1:1/0", spool_dir=spool_dir)
    buffer = Buffer(events_max=random.choice([100, 1_000]), bytes_max=1 << 20, wake_at=500)
    sending = Sender(options, buffer, Rates({}), threading.Event())
    writing = Writing(buffer, random)
    sending._attempts = writing  # type: ignore[assignment]
    for _ in range(random.randint(1, 40)):
        writing.log(random.choice("abc"))
    for _ in range(60):
        sending._deliver_next()
        writing.look()
    writing.trouble = 0.0
    target = buffer.put_events
    rounds = 0
    while not buffer.is_settled(target):
        sending._deliver_next()
        writing.look()
        rounds += 1
        assert rounds < 1_000
    assert buffer.stats()["buffered"]


def test_places_of_a_queue() -> None:
    """The smallest place of a queue is that of its oldest event, wherever it stands."""
    places = Places()
    assert places.smallest() == NOWHERE == places.remove(0)
    places.add(0, 2)
    places.add(5, 2)
    places.add(5, 1)
    places.rotate(1)
    assert (places.remove(1), places.smallest()) == (0, 0)
    assert (places.remove(3), places.smallest()) == (5, 0)
    assert (places.remove(1), places.smallest()) == (0, NOWHERE)
