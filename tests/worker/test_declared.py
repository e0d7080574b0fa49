"""Values against their declared type: taken where that loses nothing, else told."""

from typing import Any

import msgspec
import pytest
from events import feedback, record
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from joinback_worker.law.declared import reconciled, strict_troubles, trouble_with
from joinback_worker.law.rules import FieldRules, Rules, Scalar

TAKEN: list[tuple[Scalar, str, str]] = [
    ("bool", "true", "true"),
    ("bool", '"True"', "true"),
    ("bool", "0", "false"),
    ("bool", "1.0", "true"),
    ("bool", "2", "2"),
    ("bool", '"yes"', '"yes"'),
    ("int", "12", "12"),
    ("int", '"12"', "12"),
    ("int", "12.00", "12"),
    ("int", '"-3.0"', "-3"),
    ("int", '"007"', '"007"'),
    ("int", "12.5", "12.5"),
    ("int", "true", "true"),
    ("int", '" 12"', '" 12"'),
    ("float", "0.5", "0.5"),
    ("float", "3", "3"),
    ("float", '"0.5e3"', "0.5e3"),
    ("float", '"1e400"', '"1e400"'),
    ("float", '"NaN"', '"NaN"'),
    ("str", "12", '"12"'),
    ("str", "true", '"true"'),
    ("str", '"x"', '"x"'),
    ("str", "[1]", "[1]"),
    ("str", "null", "null"),
    ("int", "null", "null"),
]


@pytest.mark.parametrize(("scalar", "told", "taken"), TAKEN)
def test_what_is_taken(scalar: Scalar, told: str, taken: str) -> None:
    """A value of another type is taken for the declared one, or left as it was."""
    assert bytes(reconciled(scalar, Raw(told.encode()))).decode() == taken


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2),
)


@given(st.sampled_from(["bool", "int", "float", "str"]), _json)
def test_nothing_is_lost(scalar: Scalar, value: Any) -> None:
    """What is taken is JSON, is taken once and for all, and its text says what was told."""
    told = msgspec.json.encode(value)
    taken = reconciled(scalar, Raw(told))
    after = msgspec.json.decode(taken)
    assert reconciled(scalar, taken) == taken
    if bytes(taken) != told and scalar != "bool":
        assert str(after).lower() == str(value).lower() or float(after) == float(value)


BROKEN = [
    (FieldRules(type="bool"), '"yes"', "is text, not bool"),
    (FieldRules(type="int"), "true", "is true or false, not int"),
    (FieldRules(type="int"), "1.5", "is a float, not int"),
    (FieldRules(type="int", min=0), "-1", "is below 0"),
    (FieldRules(type="float", max=1), '"1.5"', "is above 1"),
    (FieldRules(type=["fraud", "fine"]), '"fraudd"', "is none of fraud, fine"),
    (FieldRules(type="str"), "[1]", "is an array, not str"),
    (FieldRules(type="float"), "null", None),
    (FieldRules(type=["1", "2"]), "1", None),
    (FieldRules(), '{"any": 1}', None),
]


@pytest.mark.parametrize(("rules", "value", "trouble"), BROKEN)
def test_what_breaks(rules: FieldRules, value: str, trouble: str | None) -> None:
    """It is told how a value breaks its declaration; a null breaks none."""
    assert trouble_with(rules, Raw(value.encode())) == trouble


def test_strict_fields_only() -> None:
    """An event may not pass if one of its values breaks a field that is strict."""
    rules = Rules(feedback={"a": FieldRules(type="int", strict=True), "b": FieldRules(type="int")})
    told = {"feedback:f": feedback(1, a="x"), "feedback:g": feedback(2, b="x"), "feedback:h": feedback(3, a=1)}
    assert strict_troubles(record(told), rules) == {"f": "a is text, not int"}
