"""Calls in the middle of other calls: of signal handlers and of `__del__`, which may log in any thread, anywhere.

Each runs in a process of its own, which ends by itself if it hangs.
"""

import os
import subprocess
import sys
from types import FrameType
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S

import joinback
from joinback import wire
from joinback._delivery.wake import Wake
from joinback.settings import Settings
from joinback.testing import capture

EVERY_CALL = """
import logging, sys, threading
import joinback

logging.disable()

places, logged = set(), 0

def between(frame, happening, _):
    # As a signal handler or a collection of garbage may: at each place of the client and of threading, once.
    global logged
    code = frame.f_code
    if happening in ("call", "line") and ("/joinback/" in code.co_filename or code.co_filename == threading.__file__):
        if (place := (code.co_filename, frame.f_lineno)) not in places:
            places.add(place)
            sys.settrace(None)
            frame.f_trace = None
            # As if the sender slept: then the call wakes it.
            joinback.default_client._funnel._buffer.attended = False
            joinback.log_record("loans", inputs=1, outputs=2, join_key=f"nested_{logged}")
            logged += 1
            sys.settrace(between)
            frame.f_trace = between
        return between
"""


def run(code: str, settings: Settings, *arguments: str) -> str:
    """Run a script against the server of the test, and return what it printed. It has to end within the patience."""
    environment = os.environ | {"JOINBACK_REDIS_URL": settings.redis_url}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def stored(server: redis.Redis, pattern: str) -> set[str]:
    """The join keys of the records in Redis that match."""
    prefix = wire.record_key("loans", "")
    return {key.decode().removeprefix(prefix) for key in server.scan_iter(prefix + pattern)}


STARTING = """
import sys, threading
import joinback

start = threading.Thread.start

def interrupted(thread):
    if sys.argv[1] == "before":
        joinback.log_record("loans", inputs=1, outputs=2, join_key="handler")
    start(thread)
    if sys.argv[1] == "after":
        joinback.log_record("loans", inputs=1, outputs=2, join_key="handler")

threading.Thread.start = interrupted
joinback.log_record("loans", inputs=1, outputs=2, join_key="call")
assert joinback.flush(), joinback.stats()
assert sum(thread.name == "joinback-sender" for thread in threading.enumerate()) == 1
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_logs_while_the_first_event_starts_the_sender(
    settings: Settings, server: redis.Redis, when: str
) -> None:
    """Neither call waits for the other, one sender starts, and both events arrive."""
    run(STARTING, settings, when)
    assert stored(server, "*") == {"handler", "call"}


CONFIGURING = """
import joinback
from joinback._delivery import delivery

transport_to = delivery.transport_to

def interrupted(options):
    joinback.log_record("loans", inputs=1, outputs=2, join_key="handler")
    return transport_to(options)

delivery.transport_to = interrupted
joinback.log_record("loans", inputs=1, outputs=2, join_key="call")
assert joinback.flush() and joinback.stats()["sent"] == 2, joinback.stats()
"""


def test_a_handler_logs_while_the_first_event_configures_the_client(settings: Settings, server: redis.Redis) -> None:
    """Both events go the same way, which is configured once."""
    run(CONFIGURING, settings)
    assert stored(server, "*") == {"handler", "call"}


NEWBORN = """
import threading
import joinback

ident = threading.Thread._set_ident

def collected(thread):
    ident(thread)
    if thread.name == "joinback-sender":
        joinback.log_record("loans", inputs=1, outputs=2)

threading.Thread._set_ident = collected
joinback.log_record("loans", inputs=1, outputs=2)
assert joinback.flush(), joinback.stats()
assert joinback.stats()["sent"] == 2
"""


def test_an_object_logs_as_it_is_collected_in_the_newborn_sender(settings: Settings, server: redis.Redis) -> None:
    """The thread does not wait for the call that started it and waits for its birth."""
    run(NEWBORN, settings)


FIRST = (
    EVERY_CALL
    + """
sys.settrace(between)
joinback.log_record("loans", inputs=1, outputs=2)
joinback.log_record("loans", inputs=1)
joinback.log_records("loans", inputs=[1], outputs=[2])
joinback.set_sample_rate("ads", 0.5)
joinback.log_record("ads", inputs=1, outputs=2, join_key="x")
joinback.stats()
joinback.flush()
sys.settrace(None)
assert joinback.flush(), joinback.stats()
print(logged)
"""
)


def test_calls_between_any_two_lines_of_others(settings: Settings, server: redis.Redis) -> None:
    """From the first call on, no call waits for the one that it interrupts, and the event of each arrives."""
    nested = int(run(FIRST, settings))
    assert nested > 300
    assert len(stored(server, "nested_*")) == nested


def test_calls_between_any_two_lines_of_a_capture() -> None:
    """Events that are logged while another is captured are captured too, once each."""
    names = iter(range(1_000_000))
    places: set[tuple[object, int]] = set()

    def between(frame: FrameType, happening: str, _: object) -> Any:
        if "/joinback/_delivery/" in frame.f_code.co_filename:
            if happening == "line" and (place := (frame.f_code, frame.f_lineno)) not in places:
                places.add(place)
                sys.settrace(None)
                joinback.log_record("loans", inputs=1, outputs=2, join_key=f"nested_{next(names)}")
                sys.settrace(between)
            return between
        return between if "/joinback/" in frame.f_code.co_filename else None

    traced = sys.gettrace()
    with capture() as events:
        sys.settrace(between)
        joinback.log_record("loans", inputs=1, outputs=2, join_key="outer")
        sys.settrace(traced)
    keys = {event.join_key for event in events}
    assert len(keys) == len(events) == next(names) + 1 > 10
    assert len({event.event_id for event in events}) == len(events)


def test_a_wake_is_kept_until_somebody_waits() -> None:
    """However often it is set before, one wait returns at once, and the next one waits."""
    wake = Wake()
    assert not wake.wait(0)
    wake.set()
    wake.set()
    assert wake.wait(PATIENCE_S)
    assert not wake.wait(0)
    wake.set()
    wake.clear()
    assert not wake.wait(0)


CHILD = """
import os, signal, sys, threading
import joinback
from joinback import forks

joinback.log_record("loans", inputs=1, outputs=2, join_key="parent")
assert joinback.flush()

def logs(*_):
    joinback.log_record("loans", inputs=1, outputs=2, join_key="handler")

signal.signal(signal.SIGUSR1, logs)

def owner():
    # In the middle of the owners: some have renewed their state, some not.
    signal.raise_signal(signal.SIGUSR1)

forks._owners.insert(len(forks._owners) // 2, __import__("weakref").ref(owner))
pid = os.fork()
if pid == 0:
    joinback.log_record("loans", inputs=1, outputs=2, join_key="child")
    done = joinback.flush() and joinback.stats()["sent"] == 2
    os._exit(0 if done else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_a_handler_logs_while_a_child_renews_its_state(settings: Settings, server: redis.Redis) -> None:
    """The signal waits until the state is the child's own, so what its handler logs is not forgotten."""
    run(CHILD, settings)
    assert len(stored(server, "*")) == 3


STILLBORN = """
import threading
import joinback

start = threading.Thread.start

def stillborn(thread):
    # As in a forked child whose threading forgets the thread: it counts as started, and ends at its birth.
    threading.Thread.start = start
    thread.run = lambda: None
    thread.start()
    thread.join()

threading.Thread.start = stillborn
joinback.log_record("loans", inputs=1, outputs=2)
assert not any(thread.name == "joinback-sender" for thread in threading.enumerate())
"""


@pytest.mark.parametrize(
    "then", ["joinback.log_record('loans', inputs=1, outputs=2); joinback.close()", "joinback.flush()", ""]
)
def test_a_sender_that_ended_at_its_birth(settings: Settings, server: redis.Redis, then: str) -> None:
    """The next event, flush or exit starts another one, which delivers what waits."""
    run(STILLBORN + then, settings)
    assert len(stored(server, "*")) == 1 + then.count("log_record")


CLOSING = """
import joinback
from joinback._delivery.buffer import Buffer

wait_settled = Buffer.wait_settled

def interrupted(buffer, timeout_s):
    Buffer.wait_settled = wait_settled
    {handler}
    return wait_settled(buffer, timeout_s)

Buffer.wait_settled = interrupted
joinback.log_record("loans", inputs=1, outputs=2)
try:
    assert joinback.close()
except KeyboardInterrupt:
    assert joinback.close()
assert joinback.stats()["sent"] == 1, joinback.stats()
"""


@pytest.mark.parametrize("handler", ["assert joinback.close()", "raise KeyboardInterrupt"])
def test_a_handler_in_the_middle_of_a_close(settings: Settings, server: redis.Redis, handler: str) -> None:
    """It may close too, which waits for nothing that cannot go on; or raise: then the next close does the rest."""
    run(CLOSING.format(handler=handler), settings)
    assert len(stored(server, "*")) == 1
