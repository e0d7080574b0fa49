"""Another type at a key of Joinback: named by key and type, with the line that makes room, and the rest is told."""

import json
import re
import shlex

import pytest
from conftest import PATIENCE_S, Cli, Stack

from joinback import wire
from joinback.redis_errors import advice_on
from joinback_worker.notes.foreign import KINDS

OF_TAG = [wire.stats_key, wire.pending_key, wire.history_key, wire.dead_key, wire.fields_key, wire.erased_key]
KEYS = [*KINDS, *(key("loans") for key in OF_TAG)]


@pytest.mark.parametrize("key", KEYS)
def test_a_foreign_key(stack: Stack, cli: Cli, key: str) -> None:
    """`status` and `doctor` name the key and its type, and the RENAME line that mends it; then nothing is reported."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.server.delete(key)
    stack.server.set(key, "mine", ex=600)
    kind = KINDS.get(key, "hash" if key.endswith((":stats", ":fields", ":erased")) else "stream")
    shown = {command: cli(command) for command in ("status", "doctor")}
    for done in shown.values():
        assert done.returncode == 1
        assert f"{key} is a string, not a {kind}\n" in done.stdout
    (fix,) = set(re.findall(r"rename it: redis-cli .* (RENAME .*)", "".join(done.stdout for done in shown.values())))
    stack.server.execute_command(*shlex.split(fix))
    assert stack.server.get(f"foreign:{key}") == b"mine"
    told = json.loads(cli("status", "--json").stdout)
    of_loans = told["applications"].get("loans", {"findings": []})
    assert "key_taken" not in {one["name"] for one in told["findings"] + of_loans["findings"]}
    # The books are whole for the stack's last look: what the key held was deleted above.
    stack.server.delete(wire.stats_key("loans"))


@pytest.mark.parametrize("key", [wire.erased_key("loans"), wire.dead_key("loans")])
def test_a_drain_that_a_foreign_key_stops(stack: Stack, cli: Cli, key: str) -> None:
    """The failed drain points to the key that is taken, and not to `doctor` and back."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    stack.server.set(key, "mine", ex=600)
    assert stack.drain().error is not None
    for command in ("status", "doctor"):
        shown = cli(command).stdout
        assert "drain_failing: loans: the last drain failed: " in shown
        assert "do what key_taken says" in shown
        assert f"key_taken: loans: {key} is a string" in shown
    stack.server.delete(key)
    assert stack.drain().error is None


@pytest.mark.parametrize(
    "words", [("list", "loans"), ("list", "loans", "--json"), ("show", "loans", "1-1"), ("drop", "loans", "--all")]
)
def test_letters_that_cannot_be_read(stack: Stack, cli: Cli, words: tuple[str, ...]) -> None:
    """With another type at the key of the letters, no command says that there are none."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.server.set(wire.dead_key("loans"), "mine", ex=600)
    done = cli("dead", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "joinback:{loans}:dead is a string, not a stream; rename it: redis-cli " in done.stderr
    assert stack.server.get(wire.dead_key("loans")) == b"mine"


def test_the_advice_names_every_key() -> None:
    """The words for a wrong type list all keys that may be of one."""
    says = advice_on("WRONGTYPE")
    for key in KEYS:
        assert f":{key.rpartition(':')[2]}" in says
