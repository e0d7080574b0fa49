"""The client while its Redis is in trouble: callers go on, memory stays bounded, and every event is accounted for."""

import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PATIENCE_S
from documents import ROOT
from front import Front
from outages import FAULTS, TAG, Site, hung, refused, restarted_empty

import joinback
from joinback import wire
from joinback._delivery import replay
from joinback._delivery.replay import Replay
from joinback._delivery.sender import IDLE_S_MAX

PAGE = ROOT / "docs" / "how-to" / "in-your-service.md"

BUFFER_EVENTS_MAX = 2_000

WaitUntil = Callable[..., None]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # A busy machine takes longer over a restart than the five seconds for which a client remembers what it sent.
    monkeypatch.setattr(replay, "REPLAY_S", PATIENCE_S)
    with ExitStack() as stack:
        yield Site(stack)


def log(client: joinback.Client, first: int, last: int) -> None:
    for n in range(first, last):
        client.log_record("loans", inputs={"n": n}, outputs=0.5, join_key=f"k{n}")


def assert_identity(stats: dict[str, Any]) -> None:
    assert stats["logged"] == stats["sent"] + stats["buffered"] + sum(stats["dropped"].values())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_an_outage(site: Site, fault: Callable[[Site], AbstractContextManager[None]]) -> None:
    """Through any trouble of Redis memory is bounded, and all that was not counted as dropped arrives in the end."""
    client = joinback.Client().init(site.proxy.url, buffer_events_max=BUFFER_EVENTS_MAX)
    looks: list[dict[str, Any]] = []
    done = threading.Event()
    watch = threading.Thread(target=lambda: [looks.append(client.stats()) for _ in iter(done.is_set, True)])
    watch.start()
    log(client, 0, 1_000)
    assert client.flush(PATIENCE_S)
    with fault(site):
        log(client, 1_000, 6_000)
    client.flush(PATIENCE_S)
    assert client.stats()["buffered"] == 0
    log(client, 6_000, 7_000)
    assert client.flush(PATIENCE_S)
    done.set()
    watch.join()
    stats = client.stats()
    client.close()
    for look in [*looks, stats]:
        assert_identity(look)
        assert look["buffered"] <= BUFFER_EVENTS_MAX
    assert set(reason for reason, n in stats["dropped"].items() if n) <= {"buffer_full"}
    assert stats["sent"] == 7_000 - stats["dropped"]["buffer_full"]
    held = site.keys()
    # What was acknowledged within the last seconds was sent again where the server had lost it.
    assert len(held) == stats["sent"]
    assert held >= {f"k{n}" for n in [*range(1_000), *range(6_000, 7_000)]}


def test_what_was_acknowledged_is_sent_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A restart that nobody noticed, between two calls, loses nothing of the last seconds: the run id tells."""
    client = joinback.Client().init(site.proxy.url)
    log(client, 0, 500)
    assert client.flush(PATIENCE_S)
    with restarted_empty(site):
        pass
    log(client, 500, 501)
    assert client.flush(PATIENCE_S)
    assert len(site.keys()) == 501
    assert client.stats()["sent"] == 501
    client.close()


def test_what_was_acknowledged_is_sent_again_without_info(site: Site) -> None:
    """Where INFO is forbidden nobody says that it is another Redis: the last seconds are sent at each reconnection."""
    with Front(site.server.port) as front:
        front.answer = lambda command: (
            b"-NOPERM no permissions to run the 'info' command\r\n" * (command[0] == b"INFO") or None
        )
        client = joinback.Client().init(front.url)
        log(client, 0, 500)
        assert client.flush(PATIENCE_S)
        with restarted_empty(site):
            front.cut()
        front.port_behind = site.server.port
        log(client, 500, 501)
        assert client.flush(PATIENCE_S)
        assert len(site.keys()) == 501
        client.close()


def test_how_much_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring holds five seconds by the clock, and the last batch however old it is."""
    now = 100.0
    monkeypatch.setattr("joinback._delivery.replay.time", SimpleNamespace(monotonic=lambda: now))
    ring = Replay()
    for now, batch in ((100.0, "first"), (104.9, "second"), (105.1, "third"), (300.0, "fourth")):
        ring.add("loans", b"key", "server", [("loans", batch, "feedback:1", b"{}")])
        kept = {104.9: ["first", "second"], 105.1: ["second", "third"], 300.0: ["fourth"]}.get(now, ["first"])
        assert [sent.events[0][1] for sent in ring.lost(lambda _: "another")] == kept


def test_what_is_sent_again_stops_at_no_application(site: Site) -> None:
    """Where one application's keys are in the way, the others' last seconds are sent again all the same."""
    client = joinback.Client().init(site.proxy.url)
    log(client, 0, 100)
    client.log_record("fine", inputs=1, outputs=0, join_key="fine")
    assert client.flush(PATIENCE_S)
    with restarted_empty(site):
        pass
    site.redis().set(wire.pending_key(TAG), "somebody's", ex=60)
    client.log_record("fine", inputs=1, outputs=0, join_key="more")
    assert client.flush(PATIENCE_S)
    assert site.redis().xlen(wire.pending_key(wire.tag("fine"))) == 2
    site.redis().delete(wire.pending_key(TAG))
    log(client, 100, 101)
    assert client.flush(PATIENCE_S)
    assert len(site.keys()) == 101
    client.close()


def test_the_same_server_gets_nothing_twice(site: Site) -> None:
    """A connection that was cut leads back to the server that has everything, and no event is sent again."""
    client = joinback.Client().init(site.proxy.url)
    log(client, 0, 500)
    assert client.flush(PATIENCE_S)
    site.proxy.lead_to(site.server.port)
    log(client, 500, 501)
    assert client.flush(PATIENCE_S)
    assert b"duplicates" not in site.redis().hgetall(wire.stats_key(TAG))
    client.close()


def test_an_exit_from_a_hung_server_is_bounded(site: Site) -> None:
    """A script that ends while Redis hangs ends within seconds, and says what it could not deliver."""
    script = (
        "import joinback, sys\n"
        f"client = joinback.init({site.proxy.url!r})\n"
        "joinback.log_record('loans', inputs=0, outputs=0)\n"
        "assert joinback.flush()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for n in range(100): joinback.log_record('loans', inputs=n, outputs=0)\n"
    )
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with hung(site):
            # Two seconds are the client's deadline, and a hung server answers never.
            _, errors = process.communicate("go\n", timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "joinback dropped 100 events: undelivered=100" in errors
    assert "Traceback" not in errors


def test_an_exit_over_a_connection_that_is_half_open(site: Site) -> None:
    """A connection that died unseen before the exit costs nothing: half of the exit's time is a fresh one's."""
    client = joinback.Client().init(site.proxy.url)
    log(client, 0, 10)
    assert client.flush(PATIENCE_S)
    site.proxy.forget()
    log(client, 10, 20)
    assert client.close()
    assert len(site.keys()) == 20


def test_an_exit_before_the_first_answer(caplog: pytest.LogCaptureFixture, wait_until: WaitUntil) -> None:
    """A server that takes the connection and says nothing did not answer in time: it was the exit that hung up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = joinback.Client().init(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        log(client, 0, 1)
        peer, _ = silent.accept()
        with peer:
            assert peer.recv(1)
            client.close(0)
            wait_until(lambda: "undelivered" in caplog.text, 60.0)
    assert "did not answer in time" in caplog.text
    assert "hung up" not in caplog.text


def test_a_script_and_sigterm(site: Site) -> None:
    """SIGTERM's default ends a script without its exit hooks; with the page's line it delivers what it logged."""
    (line,) = [line for line in PAGE.read_text().splitlines() if "SIGTERM" in line and "sys.exit" in line]
    handler = re.search(r"`(signal\.signal\([^`]*)`", line)
    assert handler is not None
    script = (
        "import joinback, os, signal, sys\n"
        f"joinback.init({site.proxy.url!r})\n"
        f"{handler.group(1)}\n"
        "for n in range(400): joinback.log_record('loans', inputs=n, outputs=0, join_key=f'k{n}')\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "while True: signal.pause()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (143, "")
    assert len(site.keys()) == 400


def test_an_idle_client_sleeps(site: Site) -> None:
    """A client that has nothing to do wakes up for nothing, and asks Redis nothing; the next event wakes it."""
    client = joinback.Client().init(site.proxy.url)
    log(client, 0, 10)
    assert client.flush(PATIENCE_S)
    sender = client._funnel._sender
    assert sender is not None
    # Announced once more, some seconds after the last event; then nothing is due for a minute.
    log(client, 10, 20)
    assert client.flush(PATIENCE_S)
    while sender._attempts.renew_at() < float("inf"):
        time.sleep(0.05)
    assert sender._idle_s() == IDLE_S_MAX
    thread = client._funnel._thread
    assert thread is not None
    switches = [_switches(thread) for _ in range(20) if time.sleep(0.05) is None]
    assert len(set(switches[5:])) == 1
    log(client, 20, 30)
    while client.stats()["buffered"]:  # nobody flushes
        time.sleep(0.01)
    client.close()


def _switches(thread: threading.Thread) -> str:
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return status.partition("\nvoluntary_ctxt_switches:")[2].partition("\n")[0].strip()


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the disk is full")


def test_a_log_handler_that_raises(site: Site) -> None:
    """A handler of the host's that raises reaches neither the caller nor the sender, in trouble and after it."""
    handler = Raising()
    logging.getLogger("joinback").addHandler(handler)
    try:
        client = joinback.Client().init(site.proxy.url)
        with refused(site):
            log(client, 0, 10)
            client.log_record("loans", inputs=1)
            assert not client.flush(0.2)
            assert not client.ping()
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == 10
        assert client.stats()["dropped"]["invalid"] == 1
        assert client.close()
    finally:
        logging.getLogger("joinback").removeHandler(handler)


def test_the_spool_outlives_the_process(site: Site, tmp_path: Path, wait_until: WaitUntil) -> None:
    """Events beyond memory, and those of a process killed during an outage, are sent by the next one, in order.

    A frame that the kill tore in the middle of its write is counted instead.
    """
    spool = tmp_path / "spool"
    script = (
        "import joinback, sys, os, signal\n"
        f"joinback.init('redis://127.0.0.1:1/0', spool_dir={str(spool)!r}, buffer_events_max=2000)\n"
        "import time\n"
        "for n in range(10_000):\n"
        "    while joinback.default_client._funnel._buffer.fullness() > 0.75:\n"
        "        time.sleep(0.001)\n"
        "    joinback.log_record('loans', feedback={'n': n}, join_key=f'k{n}')\n"
        "print(joinback.stats()['dropped']['buffer_full'], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert process.stdout == "0\n"
    assert process.returncode == -signal.SIGKILL
    assert len(list(spool.glob("*.spool"))) >= 1

    client = joinback.Client().init(site.proxy.url, spool_dir=spool)
    client.log_record("loans", inputs=1, outputs=0, join_key="another")
    wait_until(lambda: client.stats()["recovered"])
    delivered = client.flush(PATIENCE_S)
    stats = client.stats()
    client.close()
    assert_identity(stats)
    # SIGKILL ends a write between two pages: one time in some hundred the last frame is torn, and counted.
    torn = stats["dropped"]["spool_damaged"]
    assert delivered == (torn == 0)
    # What was in memory when the process was killed is lost, as promised; all that was on disk arrives.
    arrived = stats["sent"] - 1
    assert 8_000 <= arrived == stats["recovered"] - torn
    assert not list(spool.glob("*.spool"))
    entries = site.redis().xrange(wire.pending_key(TAG))
    assert [fields[b"key"].decode() for _, fields in entries if fields[b"kind"] == b"feedback"] == [
        f"k{n}" for n in range(arrived)
    ]
