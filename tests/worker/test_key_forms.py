"""Other forms of a key: the ones people meet are among them, few and in order; whether they match is looked up."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback_worker.key_forms import FORMS_MAX, Looks, dict_forms, forms, learn

LOANS = [f"loan_{n}" for n in range(100)]
PADDED = [f"{n:06d}" for n in range(100)]
SOME_UUID = uuid.UUID(int=0x1234567812345678ABCDEF0123456789)


@pytest.mark.parametrize(
    ("known", "ours", "theirs", "how"),
    [
        (LOANS, "17", "loan_17", "with the prefix 'loan_'"),
        (LOANS, "LOAN_17", "loan_17", "in lower case"),
        (LOANS, "loan-17", "loan_17", "with '_' between its parts"),
        (LOANS, "loan_17.0", "loan_17", "as an integer, not a float (17, not 17.0)"),
        (LOANS, "loan_0017", "loan_17", "without leading zeros"),
        (LOANS, " loan_17", "loan_17", "without white space"),
        (LOANS, "'loan_17'", "loan_17", "without the quotes or white space around it"),
        (LOANS, "eu:loan_17", "loan_17", "with the prefix 'loan_', not 'eu:loan_'"),
        (LOANS, "17.0", "loan_17", "as an integer, not a float (17, not 17.0) and with the prefix 'loan_'"),
        (PADDED, "17", "000017", "with leading zeros, to 6 digits"),
        (PADDED, "loan_17", "000017", "with leading zeros, to 6 digits and without the prefix 'loan_'"),
        (["17"], "loan_17", "17", "without the prefix 'loan_'"),
        (["17"], "1,700", "1700", "without marks between thousands"),
        (["17"], "1.7E+3", "1700", "as an integer, not a float (17, not 1.7e1)"),
        (["17.0"], "17", "17.0", "as a float, not an integer (17.0, not 17)"),
        ([str(SOME_UUID)], SOME_UUID.hex, str(SOME_UUID), "as a UUID with hyphens"),
        ([SOME_UUID.hex], str(SOME_UUID).upper(), SOME_UUID.hex, "in lower case and as a UUID without hyphens"),
    ],
)
def test_the_forms_people_meet(known: list[str], ours: str, theirs: str, how: str) -> None:
    """Prefix, case, separators, numbers, zeros and UUIDs, one by one and together, are told by what differs."""
    assert {form.key: form.how for form in forms(ours, learn(known))}[theirs] == how


def test_the_likely_ones_come_first() -> None:
    """Of all forms those of one change come before those of two."""
    found = forms("LOAN-0017", learn(LOANS))
    changes = [form.how.count(" and ") for form in found]
    assert changes == sorted(changes)
    assert max(changes) > 0


def test_a_prefix_is_a_habit() -> None:
    """What few keys begin with is no prefix; what some of each kind begin with, all of these are."""
    keys = [*LOANS, *(f"card_{n}" for n in range(30)), "stray_1"]
    assert learn(keys).prefixes == ("loan_", "card_")
    assert learn([]) == Looks()


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=20))
def test_forms_of_anything(key: str, known: list[str]) -> None:
    """Of any text there are few forms, each once, none empty, and never the key itself."""
    keys = [form.key for form in forms(key, learn(known))]
    assert len(keys) == len(set(keys)) <= FORMS_MAX
    assert key not in keys
    assert "" not in keys


@pytest.mark.parametrize("value", [17, 17.0, "17", "17.0"])
@pytest.mark.parametrize("given_as", [17, 17.0, "17", "17.0"])
def test_from_dict_by_another_type(value: object, given_as: object) -> None:
    """The key that JoinKey.from_dict made of a number as int, float or text is found from any of these."""
    key = joinback.JoinKey.from_dict({"id": value, "region": "eu"})
    found = {form.key: form.how for form in dict_forms({"id": given_as, "region": "eu"})}
    assert found[key] == f"as JoinKey.from_dict of id as {type(value).__name__}, region as str"


def test_digests_are_known_by_their_looks() -> None:
    """Keys that JoinKey.from_dict made are told from others, so that only then such are tried."""
    assert learn([joinback.JoinKey.from_dict({"id": n}) for n in range(10)]).are_digests
    assert not learn(LOANS).are_digests
