"""`joinback explain`, `orphans` and `tap`: what became of a key, of all that match nothing, and what comes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack
from explained import explained, log

import joinback
from joinback import wire
from joinback.redaction import Drop, Hash, Truncate
from joinback.sampling import keeps


def claim(stack: Stack, consumer: str, idle_ms: int) -> None:
    """All that waits is claimed by this one, since so long."""
    pending = wire.pending_key("loans")
    stack.server.xreadgroup(wire.GROUP, consumer, {pending: ">"})
    ids = [entry for entry, _ in stack.server.xrange(pending)]
    stack.server.execute_command("XCLAIM", pending, wire.GROUP, consumer, 0, *ids, "IDLE", idle_ms)


def test_from_the_queue_to_the_row(stack: Stack) -> None:
    """A key is in the queue, then claimed, then waits for feedback, then joined: each is the verdict of its time."""
    now = datetime.now(UTC)
    log(stack, "a", at=now - timedelta(days=3))
    found = explained(stack, "a")
    assert found.verdict == "in_the_queue"
    assert found.says.endswith("; no worker is alive, and none has drained it yet")
    claim(stack, "host-a:1:abc", 5_000)
    found = explained(stack, "a")
    assert (found.verdict, found.says) == ("claimed", "claimed by host-a:1 5 s ago; that worker writes it now")
    claim(stack, "host-a:1:abc", 3_600_000)
    found = explained(stack, "a")
    assert found.verdict == "in_the_queue"
    assert "claimed by host-a:1, which is not alive any more" in found.says
    stack.drain()
    found = explained(stack, "a")
    assert (found.verdict, found.says) == ("waits_for_feedback", "waits for feedback, for 3 d so far")
    log(stack, "a", at=now, repaid=True)
    stack.drain()
    found = explained(stack, "a")
    assert (found.verdict, found.says) == ("joined", "joined: the label repaid came 3 d after the prediction")
    assert [moment.what.partition(":")[0] for moment in found.timeline] == ["prediction", "feedback"]


def test_how_many_labels_of_its_age_have_come(stack: Stack) -> None:
    """Where enough predictions are as old, the verdict says how many of them have their label, by the label curve."""
    now = datetime.now(UTC)
    for n in range(80):
        log(stack, f"k{n}", at=now - timedelta(days=10))
        if n < 40:
            log(stack, f"k{n}", at=now - timedelta(days=9), repaid=True)
    log(stack, "young", at=now - timedelta(days=2))
    stack.drain()
    found = explained(stack, "young")
    assert found.coverage is not None
    assert found.coverage.share == pytest.approx(40 / 81, abs=0.02)
    assert "; 49% of the predictions of this age have a label" in found.says


def test_an_orphan(stack: Stack) -> None:
    """It waits for its prediction; the key that was most likely meant is named."""
    log(stack, "loan_1", "loan_2")
    log(stack, "loan-1", repaid=True)
    stack.drain()
    found = explained(stack, "loan-1")
    assert found.verdict == "waits_for_prediction"
    assert found.says.endswith("; was loan_1 meant? (with '_' between its parts)")


def test_a_record_that_the_sink_does_not_have(stack: Stack, cli: Cli) -> None:
    """With an emptied sink, the verdict is that nothing will bring the events there, and which command does."""
    log(stack, "a")
    stack.drain()
    stack.execute("DELETE FROM records")
    found = explained(stack, "a")
    assert found.verdict == "in_no_queue"
    (event,) = found.events
    assert found.says == (
        f"its events are in no queue, and the sink does not have {event} of it: joinback requeue loans"
    )
    assert cli("requeue", "loans").returncode == 0
    assert explained(stack, "a").verdict == "in_the_queue"
    stack.drain()
    assert explained(stack, "a").verdict == "waits_for_feedback"


def test_where_the_sink_cannot_be_asked(stack: Stack, tmp_path: Any) -> None:
    """What Redis has let go is not called unknown while the sink is away."""
    log(stack, "a")
    stack.drain()
    stack.server.delete(stack.record("a"))
    found = explained(stack, "a", sink_url=f"sqlite:///{tmp_path}/other.db")
    assert found.verdict == "sink_unknown"
    assert "rows go to" in found.says


def test_a_dict_as_the_key(stack: Stack, cli: Cli) -> None:
    """A JSON object is looked for as JoinKey.from_dict makes it, with its numbers as int, float and text."""
    log(stack, str(joinback.JoinKey.from_dict({"customer": 17})))
    stack.drain()
    said = cli("explain", "loans", '{"customer": "17"}').stdout
    assert (
        f"but there is {joinback.JoinKey.from_dict({'customer': 17})} (as JoinKey.from_dict of customer as int)" in said
    )


def test_orphans_by_form_and_sender(stack: Stack, cli: Cli) -> None:
    """Grouped by which change of form would match how many, with examples and who sent them; the rest at the end."""
    log(stack, *(f"{n:04}" for n in range(30)))
    for n in range(30):
        stack.client.log_record("loans", feedback={"repaid": True}, join_key=str(n), source="batch")
    log(stack, *(f"zz{n}yy" for n in range(5)), repaid=True)
    stack.drain()
    told = json.loads(cli("orphans", "loans", "--json").stdout)
    assert (told["orphans"], told["tried"], told["is_whole"]) == (35, 35, True)
    first, rest = told["groups"]
    assert (first["how"], first["matches"], first["sources"]) == ("with leading zeros, to 4 digits", 30, {"batch": 30})
    assert all(other == own.zfill(4) for own, other in first["examples"])
    assert (rest["how"], rest["estimated"], rest["sources"]) == ("", 5, {"": 5})
    assert "match in none of the forms that were tried" in cli("orphans", "loans").stdout
    stack.client.log_record("ads", inputs=1, outputs=2)
    stack.drain()
    assert cli("orphans", "ads").stdout.startswith("no orphans of ads in ")


def test_tap(stack: Stack, cli: Cli) -> None:
    """The newest events that wait, the oldest of them first; what they say is shown only where somebody asks."""
    log(stack, "a", "b", "c")
    shown = cli("tap", "loans", "--limit", "2").stdout.splitlines()
    assert [line.split()[3] for line in shown] == ["b", "c"]
    assert "inputs" not in "".join(shown)
    (told,) = map(json.loads, cli("tap", "loans", "--limit", "1", "--payloads", "--json").stdout.splitlines())
    assert (told["join_key"], json.loads(told["payload"])["inputs"]) == ("c", 1)
    assert stack.drain().rows == 3
    assert "no event of loans waits" in cli("tap", "loans").stdout


def test_purge(stack: Stack, cli: Cli) -> None:
    """All that Redis holds of one application is counted and deleted, after a question; others and the rows stay."""
    log(stack, "a", "b")
    stack.drain()
    log(stack, "c")
    stack.client.log_record("ads", inputs=1, outputs=2, join_key="a")
    # A client that lives announces its applications again every few seconds.
    assert stack.client.close(PATIENCE_S)
    held = "3 records, 1 pending event and 0 dead letters of loans"
    assert cli("purge", "loans", "--dry-run").stdout == f"would purge {held}\n"
    refused = cli("purge", "loans")
    assert (refused.returncode, refused.stderr) == (
        2,
        f"joinback: {held} would be deleted; without a terminal it cannot ask: --yes deletes\n",
    )
    assert stack.server.exists(stack.record("c"))
    assert cli("purge", "loans", "--yes").stdout == f"purged {held}\n"
    assert stack.server.keys("joinback:{loans}:*") == []
    assert stack.server.hkeys(wire.APPLICATIONS_KEY) == [b"ads"]
    assert not [field for field in stack.server.hkeys(wire.DRAINS_KEY) if b"loans" in field]
    assert len(stack.rows("application = 'loans'")) == 2
    assert cli("purge", "loans", "--yes").returncode == 2


def test_events_dated_in_the_future(stack: Stack) -> None:
    """The verdict says that the time of logging counts, and which event shows that a client's clock is wrong."""
    now = datetime.now(UTC)
    log(stack, "a", at=now + timedelta(days=30))
    stack.drain()
    found = explained(stack, "a")
    assert found.verdict == "waits_for_feedback"
    assert found.says.startswith("waits for feedback, for ")
    assert found.says.endswith("; an event of it is dated in the future, so the time when it was logged counts")
    # A client whose clock is a day ahead.
    tomorrow = (now + timedelta(days=1)).isoformat()
    body = {"v": 1, "at": tomorrow, "logged_at": tomorrow, "feedback": {"repaid": True}}
    keys = wire.write_keys("loans", ["b"])
    arguments = wire.write_arguments("loans", 600, [("feedback:early", json.dumps(body).encode())])
    stack.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
    stack.drain()
    found = explained(stack, "b")
    assert found.verdict == "waits_for_prediction"
    assert "; but feedback:early is dated " in found.says
    assert found.says.endswith(" in the future, so the clock of its client is wrong")


def test_a_maturity_that_nobody_declared_is_not_shown(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """`matures_at` is in the evidence only if a maturity is declared: else it repeats the time of the prediction."""
    log(stack, "a")
    stack.drain()
    assert "predicted_at" in cli("explain", "loans", "a").stdout
    assert "matures_at" not in cli("explain", "loans", "a").stdout
    stack.drain(rules={"loans": {"maturity_s": 60}})
    log(stack, "b")
    stack.drain(rules={"loans": {"maturity_s": 60}})
    assert "matures_at" in cli("explain", "loans", "b").stdout


@pytest.mark.parametrize(
    ("service", "who"), [("", "clients on web-1 dropped 3 events"), ("scoring", "scoring on web-1 dropped 3 events")]
)
def test_who_dropped_events_that_may_be_of_the_key(stack: Stack, service: str, who: str) -> None:
    """Of a key that nobody knows, the verdict says which clients lost events of its application, and why."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    drops = {"process": "p", "number": "1", "host": "web-1", "service": service}
    stack.server.xadd(wire.DROPS_KEY, drops | {wire.drop_field("invalid", "loans"): "3"})
    stack.server.expire(wire.DROPS_KEY, 600)
    says = explained(stack, "zz").says
    assert says.endswith(f"; in the last day {who} (invalid)")
    assert "or its client dropped it (before_send may have: that is not reported)" in says
    stack.server.xadd(wire.DROPS_KEY, drops | {"number": "2", wire.drop_field("hook_failed", "loans"): "7"})
    assert (
        "7 events (hook_failed: a rule of redact, or before_send, raised an exception)" in explained(stack, "zz").says
    )


def test_what_looks_redacted(stack: Stack, cli: Cli) -> None:
    """`explain` names the paths whose values have the form that a rule leaves, with the rule, and no value."""
    rules = [Hash("inputs.user.email", key="k"), Truncate("inputs.texts", 3), Drop("outputs")]
    client = joinback.Client().init(stack.settings.redis_url, redact=rules, strict=True)
    inputs = {"user": {"email": "a@b"}, "texts": ["long text", "no"], "age": None}
    client.log_record("loans", inputs=inputs, outputs=0.5, join_key="a")
    client.log_record("loans", feedback={"repaid": True}, join_key="a")
    assert client.close()
    stack.client.log_record("loans", inputs=1, outputs=0.5, join_key="plain")
    expected = [
        "inputs.user.email (32 hex digits, as Hash writes)",
        "inputs.texts.* (ends in …, as Truncate does)",
        "outputs (null, as Drop leaves the whole of it)",
    ]
    stack.drain()
    assert explained(stack, "a").redacted == expected
    assert f"looks redacted  {expected[0]}, " in cli("explain", "loans", "a").stdout
    # The sink alone knows it too.
    stack.server.delete(stack.record("a"))
    assert sorted(explained(stack, "a").redacted) == sorted(expected)
    assert explained(stack, "plain").redacted == []


def test_a_key_that_a_rule_hashes(stack: Stack) -> None:
    """Asked by the caller's own key, it is not told as sampled out or lost: the stored key is another one."""
    client = joinback.Client().init(stack.settings.redis_url, redact=[Hash("join_key", key="k")], strict=True)
    client.set_sample_rate("loans", 0.5)
    keys = [f"loan_{n}" for n in range(40)]
    for key in keys:
        client.log_record("loans", inputs=1, outputs=0.5, join_key=key)
    assert client.close()
    stack.drain()
    for key in keys[:5]:
        found = explained(stack, key)
        assert (found.verdict, found.sample) == ("unknown", None)
        assert "or a rule Hash('join_key') (joinback.redaction.preview shows the pseudonym)" in found.says
    stored = stack.rows()[0]["join_key"]
    assert explained(stack, stored).verdict == "waits_for_feedback"
    outside = next(key for key in (f"{n:032x}" for n in range(99)) if not keeps("loans", key, 0.5))
    assert explained(stack, outside).verdict == "sampled_out"
