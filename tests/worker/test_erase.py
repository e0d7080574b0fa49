"""`joinback erase`: what it finds, what its receipt says, that nothing of it is left, and that nothing comes back."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack, process_environment
from engines import ENGINES, named
from events import feedback

import joinback
from joinback import wire
from joinback_worker.notes.tombstones import TOMBSTONES_MAX

TAG = wire.tag("loans")


def serve(stack: Stack, *keys: str, user_id: Any = 42, **told: Any) -> None:
    """A prediction of each key, and a label if one is told."""
    for key in keys:
        stack.client.log_record("loans", inputs={"user_id": user_id}, outputs=1, join_key=key, **told)


def held(stack: Stack, text: bytes) -> list[bytes]:
    """The keys in Redis that hold the text, or have it in their name, but for counters."""
    found = []
    for key in stack.server.keys("joinback:*"):
        kind = stack.server.type(key)
        if kind == b"stream":
            content: Any = stack.server.xrange(key)
        elif kind == b"hash":
            content = stack.server.hgetall(key)
        else:
            content = stack.server.get(key)
        if text in key or text in repr(content).encode():
            found.append(key)
    return found


def keys_of(stack: Stack) -> list[str]:
    return [row["join_key"] for row in stack.rows()]


def receipt(cli: Cli, *arguments: str, code: int = 0, **variables: str) -> dict[str, Any]:
    done = cli("erase", "loans", *arguments, "--yes", "--json", **variables)
    assert done.returncode == code, done
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def counts(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["redis_records"], answer["dead_letters"], answer["sink_rows"]


def bury(stack: Stack, key: str, event: bytes = b'{"v":1,"at":') -> None:
    """Have the next drain tell of an event of this key as a dead letter."""
    stack.client.log_record("loans", feedback={"a": 1}, join_key=key, event_id="torn")
    assert stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record(key), "feedback:torn", event)


def test_the_receipt(stack: Stack, cli: Cli) -> None:
    """It tells, tier by tier, how much went, and names neither a key nor anything that was logged."""
    serve(stack, "loan_17", "loan_18", "loan_19", feedback={"repaid": True})
    bury(stack, "loan_17")
    stack.drain()
    serve(stack, "loan_17")
    assert stack.client.flush(PATIENCE_S)
    done = cli("erase", "loans", "loan_17", "loan_18", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    head, tombstones, *tiers = done.stdout.splitlines()
    assert head.startswith("erased 2 join keys of loans, 20")
    assert tombstones.startswith("  tombstones    until 20")
    assert tombstones.endswith("each drain deletes what still comes")
    assert tiers == [
        "  Redis         2 records",
        "  dead letters  1",
        f"  sink          2 stored rows in sqlite:///{stack.folder}/joinback.db",
    ]
    assert "loan_1" not in done.stdout
    assert keys_of(stack) == ["loan_19"]
    # What waits holds the key until the next drain, and nothing else.
    assert held(stack, b"loan_17") == [wire.pending_key(TAG).encode()]
    assert stack.drain().erased == 1
    assert held(stack, b"loan_17") == held(stack, b"loan_18") == []
    assert keys_of(stack) == ["loan_19"]


def test_what_comes_later_stays_out(stack: Stack, cli: Cli) -> None:
    """A late label, a prediction logged again, and a dead letter that is replayed are taken away by the drain."""
    serve(stack, "loan_17", "loan_18")
    stack.drain()
    assert counts(receipt(cli, "loan_17")) == (1, 0, 1)
    for _ in range(2):
        serve(stack, "loan_17", feedback={"repaid": True})
        stack.client.log_record("loans", feedback={"repaid": False}, join_key="loan_18")
        drained = stack.drain()
        assert (drained.error, drained.erased, drained.dead) == (None, 2, 0)
        assert keys_of(stack) == ["loan_18"]
        assert held(stack, b"loan_17") == []
    letter = {"key": "loan_17", "event": "feedback:f", "reason": "undecodable", "detail": "", "bytes": feedback(a=1)}
    stack.server.xadd(wire.dead_key(TAG), letter)
    stack.server.expire(wire.dead_key(TAG), 600)
    assert cli("dead", "replay", "loans", "--all", "--yes").returncode == 0
    assert stack.drain().erased == 1
    assert held(stack, b"loan_17") == []
    assert stack.books().summary()["erased"] == 5


def test_a_spool_brings_nothing_back(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """What waited on a disk while its key was erased is sent, and taken away."""
    serve(stack, "loan_17")
    stack.drain()
    away = joinback.Client().init("redis://127.0.0.1:1/0", spool_dir=tmp_path / "spool")
    away.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    away.close()
    assert counts(receipt(cli, "loan_17")) == (1, 0, 1)
    back = joinback.Client().init(stack.settings.redis_url, spool_dir=tmp_path / "spool")
    back.log_record("loans", feedback={"repaid": True}, join_key="loan_18")
    assert back.flush(PATIENCE_S)
    back.close()
    assert stack.drain().erased == 1
    assert keys_of(stack) == ["loan_18"]


def test_a_change_of_shards_brings_nothing_back(stack: Stack, cli: Cli) -> None:
    """What comes under a tag that was not there when its key was erased is taken away as well."""
    serve(stack, *(f"loan_{n}" for n in range(20)))
    stack.drain()
    assert counts(receipt(cli, *(f"loan_{n}" for n in range(20)))) == (20, 0, 20)
    assert cli("apps", "set", "loans", "--shards", "3").returncode == 0
    later = joinback.Client().init(stack.settings.redis_url, strict=True)
    for n in range(25):
        later.log_record("loans", feedback={"repaid": True}, join_key=f"loan_{n}")
    assert later.flush(PATIENCE_S)
    later.close()
    assert len(stack.server.keys("joinback:{loans/*}:pending")) > 1
    assert stack.drain().erased == 20
    assert keys_of(stack) == [f"loan_{n}" for n in range(20, 25)]
    # And with shards each tier finds them where they are.
    assert counts(receipt(cli, "loan_20", "loan_21")) == (2, 0, 2)


def test_by_what_was_logged(stack: Stack, cli: Cli) -> None:
    """A condition finds the person's keys in the sink, in Redis, and among the dead letters."""
    serve(stack, "in_sink", feedback={"repaid": True})
    serve(stack, "others", user_id=420)
    serve(stack, "as_text", user_id="42")
    stack.drain()
    stack.server.delete(*(stack.record(key) for key in ("in_sink", "others", "as_text")))
    serve(stack, "waits")
    serve(stack, "others_wait", user_id=None)
    fields = {
        "key": "buried",
        "event": "prediction:p",
        "reason": "x",
        "detail": "",
        "bytes": b'{"inputs":{"user_id":42}}',
    }
    stack.server.xadd(wire.dead_key(TAG), fields)
    stack.server.xadd(wire.dead_key(TAG), fields | {"key": "", "bytes": b'{"inputs":{"user_id":42},"v":7}'})
    stack.server.xadd(wire.dead_key(TAG), fields | {"key": "others_buried", "bytes": b'{"inputs":[]'})
    stack.server.expire(wire.dead_key(TAG), 600)
    assert stack.client.flush(PATIENCE_S)
    done = cli("erase", "loans", "--where", "inputs.user_id=42", "--dry-run")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "4 join keys of loans:",
            "  Redis         1 record",
            "  dead letters  2",
            f"  sink          2 rows in sqlite:///{stack.folder}/joinback.db",
        ],
    )
    assert keys_of(stack) == ["as_text", "in_sink", "others"]
    answer = receipt(cli, "--where", "inputs.user_id=42")
    assert (answer["keys"], *counts(answer)) == (4, 1, 2, 2)
    assert stack.drain().erased == 1
    assert keys_of(stack) == ["others", "others_wait"]
    assert [letter["key"] for letter in stack.dead()] == ["others_buried"]
    assert counts(receipt(cli, "--where", "inputs.user_id=42", code=1)) == (0, 0, 0)


def test_several_conditions_hold_of_one_record(stack: Stack, cli: Cli) -> None:
    """Each of them of some event of it: one of the prediction, another of its label."""
    serve(stack, "loan_1", feedback={"repaid": True})
    serve(stack, "loan_2", feedback={"repaid": False})
    serve(stack, "loan_3", user_id=7, feedback={"repaid": True})
    stack.drain()
    both = ["--where", "inputs.user_id=42", "--where", "feedback.repaid=true"]
    assert counts(receipt(cli, *both)) == (1, 0, 1)
    assert keys_of(stack) == ["loan_2", "loan_3"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["loans"], "choose the records"),
        (["loans", "loan_17", "--where", "inputs.a=1"], "choose the records"),
        (["loans", "--where", "user_id=42"], r"'user_id=42' is not a condition; write inputs.PATH="),
        (["loans", "--where", "inputs=42"], "is not a condition"),
        (["loans", "--where", "inputs.user_id"], "is not a condition"),
        (["laons", "loan_17"], "no application laons; did you mean loans?"),
        (["loans", ""], "a join key is text in UTF-8, of 1 to 512 bytes"),
        (["loans", "x" * 513], "a join key is text in UTF-8, of 1 to 512 bytes"),
        (["loans", "loan_17"], "nothing was erased: without a terminal it cannot ask; --yes erases without asking"),
    ],
)
def test_what_is_refused(stack: Stack, cli: Cli, arguments: list[str], says: str) -> None:
    """In one line that says what to write; nothing is erased."""
    serve(stack, "loan_17")
    stack.drain()
    done = cli("erase", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert keys_of(stack) == ["loan_17"]
    assert not stack.server.exists(wire.erased_key(TAG))


def test_another_sink_is_refused(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Erased in a sink that is not in use would be erased nowhere: both are named."""
    serve(stack, "loan_17")
    stack.drain()
    done = cli("erase", "loans", "loan_17", "--yes", JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 2
    assert "rows go to sqlite" in done.stderr
    assert keys_of(stack) == ["loan_17"]
    assert not (tmp_path / "other.db").exists()


def test_a_key_that_is_not_there_yet(stack: Stack, cli: Cli) -> None:
    """The exit code says that nothing was found, no sink is made for it, and what comes later stays out."""
    stack.client.log_record("loans", inputs=1, outputs=1, join_key="first")
    assert stack.client.flush(PATIENCE_S)
    answer = receipt(cli, "loan_17", code=1)
    assert (counts(answer), answer["failed"]) == ((0, 0, 0), {})
    assert answer["tombstones_until"] is not None
    assert not Path(stack.settings.sink_url.removeprefix("sqlite:///")).exists()
    serve(stack, "loan_17")
    assert stack.drain().erased == 1
    assert keys_of(stack) == ["first"]


def test_a_dry_run_changes_nothing(stack: Stack, cli: Cli) -> None:
    """Neither rows nor Redis; its exit code says whether there is something to erase."""
    serve(stack, "loan_17")
    stack.drain()
    before = {key: stack.server.dump(key) for key in stack.server.keys("*")}
    done = cli("erase", "loans", "loan_17", "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["dry_run"], found["keys"], counts(found)) == (0, True, 1, (1, 0, 1))
    assert cli("erase", "loans", "loan_18", "--dry-run").returncode == 1
    assert {key: stack.server.dump(key) for key in stack.server.keys("*")} == before
    assert keys_of(stack) == ["loan_17"]


def test_a_tier_that_fails_stops_no_other(stack: Stack, cli: Cli) -> None:
    """It is told with what to do, the exit code is 2, and the same command again completes it."""
    serve(stack, "loan_17")
    bury(stack, "loan_17")
    stack.drain()
    path = stack.settings.sink_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        url = f"{stack.settings.sink_url}?busy_timeout_s=0.05"
        done = cli("erase", "loans", "loan_17", "--yes", JOINBACK_SINK_URL=url)
    assert done.returncode == 2
    assert "sink          FAILED: sink file" in done.stdout
    assert "locked by another process" in done.stdout
    assert "fix what failed, and run the same command again" in done.stderr
    assert (held(stack, b"loan_17"), keys_of(stack)) == ([], ["loan_17"])
    assert counts(receipt(cli, "loan_17")) == (0, 0, 1)
    assert keys_of(stack) == []


def test_what_went_into_a_pipe(stack: Stack, cli: Cli) -> None:
    """Standard output is told as a tier that cannot be erased; drains then go on."""
    as_pipe = {"JOINBACK_SINK_URL": "stdout:"}
    serve(stack, "loan_17")
    assert stack.client.flush(PATIENCE_S)
    assert cli("drain", **as_pipe).returncode == 0
    answer = receipt(cli, "loan_17", code=2, **as_pipe)
    assert counts(answer) == (1, 0, 0)
    assert list(answer["failed"]) == ["sink"]
    assert "where nothing can be erased" in answer["failed"]["sink"]
    serve(stack, "loan_17", "loan_18")
    assert stack.client.flush(PATIENCE_S)
    done = cli("drain", **as_pipe)
    assert [json.loads(line)["join_key"] for line in done.stdout.splitlines()] == ["loan_18"]


def test_an_application_that_redis_has_forgotten(stack: Stack, cli: Cli) -> None:
    """Its rows can still be erased."""
    serve(stack, "loan_17", "loan_18")
    stack.drain()
    stack.server.flushall()
    assert counts(receipt(cli, "loan_17")) == (0, 0, 1)
    assert keys_of(stack) == ["loan_18"]


def test_a_purge_leaves_the_tombstones(stack: Stack, cli: Cli) -> None:
    """An application that begins anew does not begin with what was erased."""
    serve(stack, "loan_17")
    stack.drain()
    receipt(cli, "loan_17")
    assert cli("purge", "loans", "--yes").returncode == 0
    again = joinback.Client().init(stack.settings.redis_url, strict=True)
    again.log_record("loans", inputs=1, outputs=1, join_key="loan_17")
    assert again.flush(PATIENCE_S)
    again.close()
    assert stack.drain().erased == 1
    assert keys_of(stack) == []


def test_a_tombstone_ends(stack: Stack, cli: Cli) -> None:
    """After its time a key is like any other, and the next erasure takes the tombstone away."""
    serve(stack, "loan_17")
    stack.drain()
    receipt(cli, "loan_17")
    name = wire.erased_key(TAG)
    (field,) = {field for field in stack.server.hkeys(name) if field != b"salt"}
    stack.server.hset(name, field, 1_700_000_000)
    serve(stack, "loan_17")
    assert stack.drain().erased == 0
    assert keys_of(stack) == ["loan_17"]
    receipt(cli, "loan_18", code=1)
    assert field not in stack.server.hkeys(name)


def test_too_many_tombstones(stack: Stack, cli: Cli) -> None:
    """It is told as failed; what is there is erased all the same."""
    serve(stack, "loan_17")
    stack.drain()
    name = wire.erased_key(TAG)
    stack.server.hset(name, mapping={"salt": "x"} | {str(n): 99_999_999_999 for n in range(TOMBSTONES_MAX)})
    stack.server.expire(name, 600)
    answer = receipt(cli, "loan_17", code=2)
    assert counts(answer) == (1, 0, 1)
    assert "more than 100,000 tombstones" in answer["failed"]["tombstones"]


def test_it_asks_at_a_terminal(stack: Stack) -> None:
    """With the counts; `n` erases nothing."""
    serve(stack, "loan_17")
    stack.drain()
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "joinback_worker", "erase", "loans", "loan_17"],
        env=process_environment(stack.settings),
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(child)
    os.write(parent, b"n\n")
    _, said = process.communicate(timeout=PATIENCE_S)
    os.close(parent)
    assert process.returncode == 130
    assert "sink          1 row in sqlite" in said
    assert "Erase all of it? This cannot be undone" in said
    assert keys_of(stack) == ["loan_17"]


@pytest.mark.parametrize("name", named("postgresql", "clickhouse", "delta", "parquet", "jsonl"))
def test_on_every_sink(stack: Stack, cli: Cli, tmp_path: Path, name: str) -> None:
    """By key and by what was logged: what is erased is gone, and a late label brings nothing back."""
    with ENGINES[name].place(tmp_path) as url:
        into = {"JOINBACK_SINK_URL": url}

        def drain() -> None:
            assert stack.client.flush(PATIENCE_S)
            done = cli("drain", **into)
            assert done.returncode == 0, done

        serve(stack, "loan_1", "loan_2", feedback={"repaid": True})
        serve(stack, "loan_3", "loan_4", user_id=7)
        drain()
        assert counts(receipt(cli, "loan_3", **into))[0::2] == (1, 1)
        assert receipt(cli, "--where", "inputs.user_id=42", **into)["keys"] == 2
        stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_2")
        stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_4")
        drain()
        assert ENGINES[name].rows(url, stack.settings).keys() == {"loan_4"}
        assert receipt(cli, "loan_2", code=1, **into)["failed"] == {}
