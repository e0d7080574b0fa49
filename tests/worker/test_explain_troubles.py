"""`joinback explain` where something is amiss: a long queue, an erased key, a failed drain, a misspelt key."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ruled
from conftest import Cli, Stack, nobody
from explained import explained, log

from joinback import wire
from joinback_worker.notes.heartbeat import Beat
from joinback_worker.operating import evidence


def queue(stack: Stack, number: int, prefix: str) -> None:
    """So many other events wait, as a client writes them."""
    event = b'{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z","inputs":1,"outputs":1}'
    keys = wire.write_keys("loans", [f"{prefix}{n}" for n in range(number)])
    arguments = wire.write_arguments("loans", 600, [("prediction:p", event)] * number)
    stack.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)


@pytest.mark.parametrize("ahead_h", [0, 5])
def test_a_key_in_the_middle_of_a_long_queue(stack: Stack, ahead_h: int) -> None:
    """A key is found in the queue wherever it waits, whether its client's clock is right or ahead by hours."""
    queue(stack, 1_500, "before")
    if ahead_h:
        logged_at = (datetime.now(UTC) + timedelta(hours=ahead_h)).isoformat()
        keys = wire.write_keys("loans", ["middle"])
        event = f'{{"v":1,"at":"{logged_at}","logged_at":"{logged_at}","inputs":1,"outputs":1}}'
        stack.server.eval(
            wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments("loans", 600, [("prediction:p", event.encode())])
        )
    else:
        log(stack, "middle")
    queue(stack, 1_500, "after")
    found = explained(stack, "middle")
    assert found.verdict == "in_the_queue"
    assert (len(found.pending), found.queue_looked_at, found.queue_entries) == (1, 3_001, 3_001)


def test_a_queue_too_long_to_look_through(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the search ends at its bound, the verdict says how much was looked at, and not that the key waits."""
    monkeypatch.setattr(evidence, "PENDING_SEARCHED", 1_000)
    log(stack, "first")
    stack.drain()
    queue(stack, 1_500, "before")
    log(stack, "first", repaid=True)
    queue(stack, 10, "after")
    # The record is young, so the search begins at its time, before all of these.
    found = explained(stack, "first")
    (label,) = (field for field in found.events if field.startswith("feedback"))
    assert found.verdict == "maybe_in_the_queue"
    assert found.says == (
        "may wait in the queue, which holds 1,511 entries; only 1,000 of them were looked at."
        f" The sink does not have {label} of it"
    )
    unseen = "; only 1,000 of the 1,511 entries of the queue were looked at"
    assert explained(stack, "nobody").says.endswith(f", or it was deleted{unseen}")
    # Without an answer of the sink, nobody knows which events it has.
    found = explained(stack, "first", sink_url="stdout:")
    assert (found.verdict, found.says.endswith(unseen)) == ("joined", True)


def test_a_sink_that_keeps_only_joined_rows(stack: Stack) -> None:
    """A prediction that JOINBACK_EMIT=joined leaves out of the sink waits for feedback; nobody is told to requeue."""
    log(stack, "a")
    stack.drain(emit="joined")
    assert explained(stack, "a", emit="joined").verdict == "waits_for_feedback"
    # The one who asks need not have the worker's settings.
    assert explained(stack, "a").verdict == "waits_for_feedback"


def test_an_erased_key(stack: Stack, cli: Cli) -> None:
    """It is erased, also after a new event and a drain; it is not called unknown, and no other key is offered."""
    log(stack, "loan_1", "loan_2")
    stack.drain()
    assert cli("erase", "loans", "loan_1", "--yes").returncode == 0
    erased = explained(stack, "loan_1")
    assert erased.erased_until is not None
    assert erased.says == f"erased: what comes of it is deleted until {erased.erased_until:%Y-%m-%d %H:%M} UTC"
    assert timedelta(days=100) < erased.erased_until - erased.at
    log(stack, "loan_1")
    assert explained(stack, "loan_1").says == f"{erased.says}; an event of it came since, and a drain deletes that"
    stack.drain()
    found = explained(stack, "loan_1")
    assert (found.verdict, found.says, found.near) == ("erased", erased.says, [])
    assert cli("explain", "loans", "loan_1").returncode == 0
    assert explained(stack, "loan_2").verdict == "waits_for_feedback"
    # Once its tombstone has ended, it is a key like any other.
    tombstones = wire.erased_key("loans")
    (field,) = (field for field in stack.server.hkeys(tombstones) if field != b"salt")
    stack.server.hset(tombstones, field, 1)
    assert explained(stack, "loan_1").verdict == "unknown"


def test_the_last_drain_failed(stack: Stack) -> None:
    """Of what waits or is claimed, the verdict says why the last drain failed."""
    log(stack, "a")
    stack.drain()
    log(stack, "b")
    sink = Path(stack.settings.sink_url.removeprefix("sqlite:///"))
    sink.chmod(0o444)
    # Two drains within milliseconds may be noted in either order.
    stack.server.hdel(wire.DRAINS_KEY, wire.drain_field("loans", is_done=True))
    with nobody():
        assert stack.drain().rows == 0
    found = explained(stack, "b")
    assert (found.verdict, f"; the last drain failed: sink file {sink} " in found.says) == ("in_the_queue", True)
    # The worker that holds it now may fail as well.
    stack.server.xreadgroup(wire.GROUP, "host-a:1:abc", {wire.pending_key("loans"): ">"})
    assert f"; that worker writes it now; the last drain failed: sink file {sink} " in explained(stack, "b").says


def sign(stack: Stack, **changed: Any) -> None:
    """A worker that lives, with these times from now on, in seconds."""
    at = {name: datetime.now(UTC) + timedelta(seconds=s) for name, s in changed.items() if name.endswith("_at")}
    named = {"host": "host-a", "pid": 1, "version": "0", "sink": "s", "settings": "x", "beat_at": datetime.now(UTC)}
    worker = Beat(**named | changed | at)
    stack.server.hset(wire.WORKERS_KEY, worker.name, msgspec.json.encode(worker))
    stack.server.expire(wire.WORKERS_KEY, 600)


def test_a_worker_with_another_sink(stack: Stack) -> None:
    """If the only worker is refused for its sink, the verdict says so; not if another worker drains the application."""
    log(stack, "a")
    stack.drain()
    log(stack, "b")
    refused = stack.drain(sink_url=f"sqlite:///{stack.folder}/other.db").error
    assert refused is not None
    sign(stack, trouble=refused, last_drain_at=60.0, next_drain_at=120.0)
    assert f"; the last drain failed: {refused}; the next drain is in " in explained(stack, "b").says
    sign(stack, host="host-b", last_drain_at=60.0, next_drain_at=120.0)
    assert "failed" not in explained(stack, "b").says
    # What stops another application is no reason of this one: its worker has just drained this one.
    stack.server.delete(wire.WORKERS_KEY)
    sign(stack, trouble="ads: its sink is another", last_drain_at=-1.0, next_drain_at=120.0)
    assert "failed" not in explained(stack, "b").says


def test_a_drain_that_was_due(stack: Stack) -> None:
    """If the only worker hangs, the verdict says when the drain was due; a worker that is in time will drain."""
    log(stack, "a")
    sign(stack, next_drain_at=-40.0)
    assert re.search(r"; the next drain was due 4\d s ago$", explained(stack, "a").says)
    sign(stack, host="host-b", next_drain_at=3_000.0)
    assert re.search(r"; the next drain is in (49|50) min", explained(stack, "a").says)


def test_feedback_that_is_no_label(stack: Stack, tmp_path: Path) -> None:
    """Where only undeclared fields came, the verdict names them and the declared ones."""
    rules = {"loans": {"labels": ["repaid"], "feedback": {"repaid": {"type": "bool"}}}}
    log(stack, "a")
    log(stack, "a", repiad=True)
    stack.drain(rules=rules)
    found = explained(stack, "a", config=ruled.file(tmp_path, **rules))
    assert (found.verdict, found.says) == (
        "no_label",
        "feedback came, but none of its fields is a label: repiad; declared is repaid",
    )
    # Who asks without the rules is told what the worker's rules made of it.
    assert explained(stack, "a").says == (
        "feedback came, but none of its fields is a label: repiad, by the rules of the worker that wrote the row"
    )
    log(stack, "a", repaid=True)
    stack.drain(rules=rules)
    assert explained(stack, "a").verdict == "joined"


def test_two_letters_changed_places(stack: Stack) -> None:
    """The key that is spelled most alike comes before one that has only the number in common."""
    log(stack, "loan_17", "g_17", *(f"g_{n}" for n in range(100, 130)))
    stack.drain()
    found = explained(stack, "laon_17")
    assert [near.join_key for near in found.near] == ["loan_17", "g_17"]


def test_another_number_is_another_key(stack: Stack) -> None:
    """Where another form of the key exists, a key that differs in one digit is not offered beside it."""
    log(stack, "loan_17", "loan-18")
    stack.drain()
    assert [near.join_key for near in explained(stack, "loan-17").near] == ["loan_17"]
    assert [near.join_key for near in explained(stack, "loan-19").near] == ["loan-18"]


def test_a_second_prediction(stack: Stack) -> None:
    """The verdict says that another prediction came under the key, which does not count."""
    log(stack, "a", "a", "b")
    waiting = explained(stack, "a")
    assert waiting.verdict == "in_the_queue"
    stack.drain()
    for key, others in (("a", 1), ("b", 0)):
        for found in (explained(stack, key), waiting) if others else (explained(stack, key),):
            said = "; 1 other prediction came under this key and does not count"
            assert found.says.endswith(said) == bool(others)


def test_how_late_in_words(stack: Stack, cli: Cli) -> None:
    """The mark of late feedback names a span, not a number of seconds."""
    now = datetime.now(UTC)
    log(stack, "a", at=now - timedelta(days=274))
    log(stack, "a", at=now, repaid=True)
    stack.drain()
    (mark,) = (moment for moment in explained(stack, "a").timeline if "marked as late" in moment.what)
    assert mark.detail == "94 d after the join window"


def test_an_application_that_does_not_exist(stack: Stack, cli: Cli) -> None:
    """It is not taken for an unknown key or for an application without orphans: the name that was meant is told."""
    log(stack, "loan_3")
    stack.drain()
    for words in (("explain", "loan", "loan_3"), ("orphans", "loan")):
        done = cli(*words)
        assert (done.returncode, done.stderr) == (2, "joinback: no application loan; did you mean loans?\n")
