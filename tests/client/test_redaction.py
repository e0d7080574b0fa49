"""What must not leave the process does not: rules, the caller's hook, and their failures."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S

import joinback
from joinback import wire
from joinback.redaction import Drop, Hash, Replace, Rule, Truncate, preview
from joinback.sampling import keeps
from joinback.settings import Settings
from joinback.testing import Event, capture

NOWHERE = "redis://127.0.0.1:1/0"
INPUTS = {
    "ssn": "123-45-6789",
    "email": "a@b.c",
    "prompt": "My card is 1234567812345678, thanks",
    "people": [{"name": "Ann", "age": 3}, {"name": "Bob", "age": 4}],
    "amount": 900,
}


def logged(redact: Sequence[str | Rule] = (), before_send: Any = None, **call: Any) -> list[Event]:
    client = joinback.Client().init(NOWHERE, redact=redact, before_send=before_send)
    with capture(client) as events:
        client.log_record("loans", **({"inputs": INPUTS, "outputs": {"text": "Dear Ann"}, "join_key": "k"} | call))
    return events


RULES: list[tuple[str | Rule, Callable[[Any], Any], Any]] = [
    ("inputs.ssn", lambda i: "ssn" in i, False),
    (Drop("inputs.ssn"), lambda i: "ssn" in i, False),
    ("inputs.people.*.name", lambda i: i["people"], [{"age": 3}, {"age": 4}]),
    ("inputs.people.1", lambda i: i["people"], [{"name": "Ann", "age": 3}, None]),
    ("inputs.people.7.name", lambda i: i["people"], INPUTS["people"]),
    ("inputs.nobody.here", lambda i: i, INPUTS),
    ("inputs.*", lambda i: i, {}),
    ("inputs", lambda i: i, None),
    (Truncate("inputs.email", 2), lambda i: i["email"], "a@…"),
    (Truncate("inputs.amount", 2), lambda i: i["amount"], 900),
    (Truncate("inputs.people", 2), lambda i: [p["name"] for p in i["people"]], ["An…", "Bo…"]),
    (Replace("inputs", r"\d{16}", "<card>"), lambda i: i["prompt"], "My card is <card>, thanks"),
    (Replace("inputs.amount", r"\d{3}", "<n>"), lambda i: i["amount"], 900),
    (Replace("inputs.amount", r"\d{3}", "<n>", numbers=True), lambda i: i["amount"], "<n>"),
    (Replace("inputs.amount", r"\d{9}", "<n>", numbers=True), lambda i: i["amount"], 900),
    (Replace("inputs.people", r"^3$", "<n>", numbers=True), lambda i: [p["age"] for p in i["people"]], ["<n>", 4]),
    (Replace("inputs.prompt", r"(\d{12})(\d{4})", r"****\2"), lambda i: i["prompt"], "My card is ****5678, thanks"),
]


@pytest.mark.parametrize(("rule", "look", "expected"), RULES, ids=[str(rule)[:40] for rule, *_ in RULES])
def test_a_rule(rule: str | Rule, look: Callable[[Any], Any], expected: Any) -> None:
    """Each kind of rule changes what its path names, and nothing else of the caller's."""
    before = repr(INPUTS)
    (event,) = logged([rule])
    assert look(event.inputs) == expected
    assert event.outputs == {"text": "Dear Ann"}
    assert repr(INPUTS) == before


def test_a_pseudonym() -> None:
    """Equal values have equal hashes under one key, others under another key, and the value is gone."""
    (one,), (again,), (other,) = (logged([Hash("inputs.email", key=key)]) for key in ("k1", "k1", "k2"))
    assert one.inputs["email"] == again.inputs["email"] != other.inputs["email"]
    assert len(one.inputs["email"]) == 32
    assert "k1" not in repr(Hash("inputs.email", key="k1"))


def test_feedback_and_tags_too() -> None:
    """Rules reach feedback and tags; feedback of which nothing is left is no event."""
    call = {"inputs": None, "outputs": None, "tags": {"user": "ann", "region": "eu"}}
    (event,) = logged(["tags.user", "feedback.note"], feedback={"note": "secret", "ok": True}, **call)
    assert (event.feedback, event.tags) == ({"ok": True}, {"region": "eu"})
    assert logged(["feedback.*"], feedback={"note": "secret"}, **call) == []


def test_any_object_is_redacted() -> None:
    """A rule sees an object as the JSON it becomes, so nothing hides in a class."""
    import pandas as pd

    row = pd.DataFrame([{"ssn": "1", "amount": 2}]).iloc[0]
    (event,) = logged(["inputs.ssn"], inputs=row)
    assert event.inputs == {"amount": 2}


def test_before_send_changes_and_filters() -> None:
    """The hook gets a copy after the rules, and what it returns is what is sent; None is a wanted drop."""
    seen: list[dict[str, Any]] = []

    def before_send(event: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(dict(event))
        if event["join_key"] == "internal":
            return None
        event["inputs"]["amount"] = 0
        return event | {"version": 7, "tags": {"checked": True}}

    (event,) = logged(["inputs.ssn"], before_send)
    assert (event.inputs["amount"], event.version, event.tags) == (0, "7", {"checked": True})
    assert "ssn" not in seen[0]["inputs"]
    assert seen[0].keys() >= {"kind", "application", "join_key", "event_id", "version", "environment", "outputs"}
    assert INPUTS["amount"] == 900
    assert logged(before_send=before_send, join_key="internal") == []


@pytest.mark.parametrize(
    "hook",
    [
        lambda event: 1 / 0,
        lambda event: "yes",
        lambda event: event | {"tags": "all"},
        lambda event: event | {"join_key": "k2"},
        lambda event: event | {"application": "other"},
        lambda event: event | {"kind": "feedback"},
        lambda event: event | {"event_id": "e2"},
        lambda event: {"inptus": {}, "outputs": 1},
    ],
    ids=["raises", "text", "tags", "join_key", "application", "kind", "event_id", "misspelt"],
)
def test_a_failing_hook_lets_nothing_out(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises, or returns no event or another, drops it, counted; its error is named and not quoted."""
    client = joinback.Client().init(NOWHERE, before_send=hook)
    client.log_record("loans", inputs=INPUTS, outputs=1)
    assert client.stats()["dropped"]["hook_failed"] == 1
    assert client.stats()["buffered"] == 0
    assert "before_send " in caplog.text
    assert "division" not in caplog.text
    assert "inptus" not in caplog.text
    assert "k2" not in caplog.text


def test_what_before_send_leaves_out_is_unchanged() -> None:
    """A hook may return the parts it changed alone; None takes a part out."""
    call = {"tags": {"region": "eu"}, "version": "1"}
    (event,) = logged(before_send=lambda event: {"inputs": {"a": 1}}, **call)
    assert (event.inputs, event.outputs, event.tags, event.version) == (
        {"a": 1},
        {"text": "Dear Ann"},
        {"region": "eu"},
        "1",
    )
    nothing = {"inputs": None, "outputs": None, "tags": None, "version": None}
    (event,) = logged(before_send=lambda event: nothing, **call)
    assert (event.inputs, event.outputs, event.tags, event.version) == (None, None, {}, None)
    feedback = {"inputs": None, "outputs": None, "feedback": {"ok": True}}
    assert logged(before_send=lambda event: {"feedback": None}, **feedback) == []
    (event,) = logged(before_send=lambda event: {}, **feedback)
    assert event.feedback == {"ok": True}


def test_a_hook_that_changes_a_retraction_alone() -> None:
    """A retraction has no parts but its tags, and passes through rules and hook."""
    client = joinback.Client().init(NOWHERE, redact=["inputs.ssn"], before_send=lambda event: {})
    with capture(client) as events:
        client.retract("loans", "k", fields=["ok"])
    assert [(event.kind, event.fields) for event in events] == [("retraction", ["ok"])]


def test_a_rule_that_never_matches_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """After a hundred events with its part, a path that led nowhere is named; one that ever matched never is."""
    rules: list[str | Rule] = [
        "inputs.smm",
        "inputs.ssn",
        "inputs.people.*.nmae",
        "inputs.people.*.name",
        "feedback.note",
        Replace("inputs.amount", r"\d{3}", "<n>"),
        Truncate("inputs.prompt", 1_000),
        Hash("join_key", key="k"),
    ]
    client = joinback.Client().init(NOWHERE, redact=rules)
    with capture(client):
        for n in range(99):
            client.log_record("loans", inputs={"amount": 1} if n else INPUTS, outputs=1)
    assert caplog.text == ""
    with capture(client):
        for _ in range(150):
            client.log_record("loans", inputs={"amount": 1}, outputs=1)
    told = [record.message for record in caplog.records]
    assert [message.split("'")[1] for message in told] == ["inputs.smm", "inputs.people.*.nmae", "inputs.amount"]
    assert "or not to text" in told[2]
    with capture(client):
        for n in range(150):
            client.log_record("loans", feedback={"ok": n}, join_key="k")
    assert "'feedback.note' found nothing to hide in 100 events" in caplog.text
    assert len(caplog.records) == 4


def test_preview(caplog: pytest.LogCaptureFixture) -> None:
    """Shows the events that would leave, sends none, and names the rules that find nothing in the record."""
    record = {"inputs": INPUTS, "outputs": {"text": "Dear Ann"}, "feedback": {"ok": True}, "join_key": "ann@b.c"}
    key = Hash("join_key", key="k")
    prediction, feedback = preview(record, redact=["inputs.ssn", "inputs.smm", key], before_send=lambda e: e)
    assert "ssn" not in prediction.inputs
    assert prediction.join_key == feedback.join_key == key.apply("ann@b.c")
    assert feedback.feedback == {"ok": True}
    assert preview(record, before_send=lambda event: None) == []
    assert [record.message for record in caplog.records] == [
        "joinback: redact: 'inputs.smm' finds nothing to hide in this record"
    ]
    with pytest.raises(joinback.InvalidEvent, match="needs both"):
        preview({"inputs": 1})
    with pytest.raises(joinback.ConfigurationError):
        preview(record, redact=["ssn"])


def test_a_hashed_join_key(stack: Any) -> None:
    """The caller's key is in no key of Redis and no row; calls still take and return it, and all of them meet."""
    rule = Hash("join_key", key="secret")
    client = joinback.Client().init(stack.settings.redis_url, redact=[rule], strict=True)
    assert client.log_record("loans", inputs=1, outputs=2, join_key="Ann@Example.org") == "Ann@Example.org"
    # Another process of the same key of the rule, and a key of another type.
    telling = joinback.Client().init(stack.settings.redis_url, redact=[rule], strict=True)
    telling.log_record("loans", feedback={"ok": True, "bad": 1}, join_key="Ann@Example.org")
    telling.retract("loans", "Ann@Example.org", fields=["bad"])
    client.log_record("loans", inputs=1, outputs=2, join_key=4711)
    telling.log_record("loans", feedback={"ok": True}, join_key="4711")
    assert client.flush(PATIENCE_S)
    assert telling.flush()
    stack.drain()
    rows = stack.rows()
    assert {row["join_key"] for row in rows} == {rule.apply("Ann@Example.org"), rule.apply("4711")}
    assert {(row["status"], row["feedback"]) for row in rows} == {("joined", '{"ok":true}')}
    held = b" ".join(stack.server.keys("*"))
    assert b"Ann" not in held
    assert b"4711" not in held
    client.close()
    telling.close()


def test_a_hashed_key_is_sampled_and_sharded_by_its_hash(settings: Settings, server: redis.Redis) -> None:
    """A service without the rule's key that sends the pseudonym itself keeps the same sample, in the same shards."""
    rule = Hash("join_key", key="secret")
    server.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":4,"sample_rate":0.3}')
    predicting = joinback.Client().init(settings.redis_url, redact=[rule], sample_rates={"loans": 0.3})
    telling = joinback.Client().init(settings.redis_url)
    for n in range(200):
        predicting.log_record("loans", inputs=n, outputs=0, join_key=f"Loan_{n}")
        telling.log_record("loans", feedback={"ok": True}, join_key=rule.apply(f"Loan_{n}"))
    assert predicting.flush()
    assert telling.flush()
    kept = [key for key in (rule.apply(f"Loan_{n}") for n in range(200)) if keeps("loans", key, 0.3)]
    assert 0 < len(kept) < 200
    for key in kept:
        assert server.hlen(wire.record_key(wire.tag_of("loans", key, 4), key)) == 2
    assert predicting.stats()["sent"] == telling.stats()["sent"] == len(kept)
    predicting.close()
    telling.close()


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("inputs.ssn", "must be a list"),
        (["ssn"], "'ssn' is not a path; begin with one of inputs, outputs, feedback, tags"),
        (["inputs..ssn"], "is not a path"),
        (["feedback"], "name a field, such as feedback"),
        ([Replace("inputs", "(", "")], "not a regular expression"),
        ([17], "not a int"),
        (["join_key"], "a join key can only be hashed"),
        ([Truncate("join_key", 3)], "a join key can only be hashed"),
        (["join_key.x"], "is not a path"),
        ([Hash("inputs.email", key="")], "must be text, and not empty"),
        ([Hash("inputs.email", key=None)], "must be text, and not empty"),  # type: ignore[arg-type]
    ],
)
def test_a_rule_that_is_none(rules: Any, says: str) -> None:
    """A wrong rule is told at init, before anything could leak."""
    with pytest.raises(joinback.ConfigurationError, match=says):
        joinback.Client().init(NOWHERE, redact=rules)
