"""What must not leave the process does not: rules, the caller's hook, and their failures."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import joinback
from joinback.redaction import Drop, Hash, Replace, Rule, Truncate
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
    [lambda event: 1 / 0, lambda event: "yes", lambda event: event | {"tags": "all"}],
    ids=["raises", "text", "tags"],
)
def test_a_failing_hook_lets_nothing_out(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises, or returns no event, drops the event, counted; its error is named and not quoted."""
    client = joinback.Client().init(NOWHERE, before_send=hook)
    client.log_record("loans", inputs=INPUTS, outputs=1)
    assert client.stats()["dropped"]["hook_failed"] == 1
    assert client.stats()["buffered"] == 0
    assert "raised" in caplog.text
    assert "division" not in caplog.text


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("inputs.ssn", "must be a list"),
        (["ssn"], "'ssn' is no path; begin with one of inputs, outputs, feedback, tags"),
        (["inputs..ssn"], "is no path"),
        (["feedback"], "name a field, such as feedback"),
        ([Replace("inputs", "(", "")], "no regular expression"),
        ([17], "not a int"),
    ],
)
def test_a_rule_that_is_none(rules: Any, says: str) -> None:
    """A wrong rule is told at init, before anything could leak."""
    with pytest.raises(joinback.ConfigurationError, match=says):
        joinback.Client().init(NOWHERE, redact=rules)
