"""Which records a condition of `joinback erase` means."""

from typing import Any

import pytest
from events import feedback, prediction, record

from joinback.errors import JoinbackError
from joinback_worker.operating.where import holds, holds_of_bytes, where

INPUTS: dict[str, Any] = {
    "user": {"id": 42, "name": "Ada"},
    "user.mail": "ada@example.org",
    "items": [{"sku": "a", "of": [1, 2]}, {"sku": "b"}, "loose"],
    "none": None,
    "yes": True,
    "empty": "",
}
FIELDS = {
    "prediction:p": prediction(inputs=INPUTS, outputs=[0.5], tags={"tenant": "7"}),
    "feedback:f": feedback(60, owner={"id": "x=y"}),
}
MEANT = [
    "inputs.user.id=42",
    "inputs.user.name=Ada",
    'inputs.user.name="Ada"',
    "inputs.user.mail=ada@example.org",
    "inputs.items.sku=b",
    "inputs.items.of=2",
    "inputs.none=null",
    "inputs.yes=true",
    "inputs.empty=",
    'inputs.user={"id": 42, "name": "Ada"}',
    "tags.tenant=7",
    "feedback.owner.id=x=y",
    "join_key=k",
]
NOT_MEANT = [
    "inputs.user.id=4",
    "inputs.user.id.x=42",
    "inputs.user.nickname=Ada",
    "inputs.yes=1",
    "inputs.none=",
    "inputs.absent=null",
    "outputs.user.id=42",
    "tags.tenant=8",
    "join_key=K",
]


@pytest.mark.parametrize("given", MEANT)
def test_what_is_meant(given: str) -> None:
    """A path leads through objects, names with dots and lists; a value is JSON or else text. In a letter, too."""
    assert holds([where(given)], record(FIELDS))
    assert any(holds_of_bytes([where(given)], "k", event) for event in FIELDS.values())


@pytest.mark.parametrize("given", NOT_MEANT)
def test_what_is_not_meant(given: str) -> None:
    """Neither a part of a value, nor another place, nor another type."""
    assert not holds([where(given)], record(FIELDS))
    assert not any(holds_of_bytes([where(given)], "k", event) for event in FIELDS.values())


def test_each_condition_must_hold() -> None:
    """Of some event of the record, not of one and the same."""
    assert holds([where("inputs.user.id=42"), where("feedback.owner.id=x=y")], record(FIELDS))
    assert not holds([where("inputs.user.id=42"), where("feedback.owner.id=z")], record(FIELDS))


@pytest.mark.parametrize("event", [b"", b"\xff", b'{"inputs":', b"[]", b"1", b'{"inputs":{"user":"x"}}', b"[" * 5_000])
def test_a_letter_of_any_bytes(event: bytes) -> None:
    """Of what is no event only the join key is known."""
    assert not holds_of_bytes([where("inputs.user.id=42")], "k", event)
    assert holds_of_bytes([where("join_key=k")], "k", event)


@pytest.mark.parametrize(
    "given", ["", "inputs", "inputs=1", "inputs.=1", "inputs..a=1", "user=1", "join_key.a=1", "a.b"]
)
def test_what_is_no_condition(given: str) -> None:
    """It is refused with what may be written."""
    with pytest.raises(JoinbackError, match=r"is not a condition; write inputs\.PATH="):
        where(given)
