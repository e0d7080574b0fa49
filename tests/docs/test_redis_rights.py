"""docs/how-to/redis.md does not lie: the rights that deploy/redis/users.acl gives are enough, and no more than that."""

from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack
from documents import rights, rights_beside

import joinback
from joinback import wire


def test_the_least_rights_are_enough(stack: Stack, cli: Cli, spawn: Any, wait_until: Any) -> None:
    """Client and worker do all their work with those rights, and the client can do no other."""
    for name in ("joinback-client", "joinback-worker"):
        stack.server.execute_command("ACL", "SETUSER", name, "reset", *rights(name))
    host = stack.settings.redis_url.removeprefix("redis://")
    try:
        client = joinback.Client().init(f"redis://joinback-client:secret@{host}", strict=True)
        client.log_record("loans", inputs=1, outputs=2, feedback={"a": 1}, join_key="loan_17")
        client.retract("loans", "loan_17")
        # Enough events for the path of the full record.
        for n in range(wire.RECORD_EVENTS_MAX):
            client.log_record("loans", feedback={"n": n}, join_key="loan_17")
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == client.stats()["logged"]
        assert client.ping()
        client.close()
        losing = joinback.Client().init(f"redis://joinback-client:secret@{host}")
        losing.log_record("loans", inputs=1)
        losing.close()
        assert stack.server.xlen(wire.DROPS_KEY) == 1
        stack.server.hset(stack.record("loan_17"), "feedback:torn", "rubbish")
        as_worker = {"JOINBACK_REDIS_URL": f"redis://joinback-worker:secret@{host}", "JOINBACK_INTERVAL_S": "1"}
        process = spawn("-m", "joinback_worker", "worker", **as_worker)
        wait_until(lambda: stack.books().pending == 0)
        wait_until(lambda: stack.server.hlen(wire.WORKERS_KEY) == 1 and stack.server.keys("arq:joinback:health:*"))
        assert process.poll() is None
        assert cli("worker", "--check", **as_worker).returncode == 0
        done = cli("drain", **as_worker)
        assert done.returncode == 0, done.stderr
        with redis.Redis.from_url(f"redis://joinback-client:secret@{host}") as intruder:
            for command in (["KEYS", "*"], ["HGETALL", stack.record("loan_17")], ["FLUSHALL"], ["GET", "arq:x"]):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    intruder.execute_command(*command)
    finally:
        stack.server.execute_command("ACL", "DELUSER", "joinback-client", "joinback-worker")


def test_what_the_commands_that_write_need_beside(stack: Stack, cli: Cli) -> None:
    """With the worker's rights and what the page adds for them, `label`, `retract` and `erase` reach Redis."""
    (beside,) = rights_beside("- `joinback retract`, `joinback label`")
    name = "joinback-worker"
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.drain()
    host = stack.settings.redis_url.removeprefix("redis://")
    as_worker = {"JOINBACK_REDIS_URL": f"redis://joinback-worker:secret@{host}"}
    stack.server.execute_command("ACL", "SETUSER", name, "reset", *rights(name), *beside)
    try:
        assert cli("label", "loans", "loan_17", "repaid=true", **as_worker).returncode == 0
        stack.drain()
        done = cli("retract", "loans", "--key", "loan_17", "--yes", **as_worker)
        assert (done.returncode, done.stderr) == (0, "")
        assert stack.drain().error is None
        erased = cli("erase", "loans", "loan_17", "--yes", **as_worker)
        assert (erased.returncode, erased.stderr) == (0, "")
        (by_where,) = rights_beside("- `joinback requeue`, `joinback purge`, `joinback erase --where`")
        stack.server.execute_command("ACL", "SETUSER", name, *by_where)
        by_what_was_logged = cli("erase", "loans", "--where", "inputs.user_id=42", **as_worker)
        assert (by_what_was_logged.returncode, by_what_was_logged.stderr) == (1, "")
    finally:
        stack.server.execute_command("ACL", "DELUSER", name)
