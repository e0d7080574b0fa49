"""What a call may be given: keys of every integral kind, names of every text, and a clear word for the rest."""

import enum
import json
import logging
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import redis
from conftest import PATIENCE_S, Stack
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback import wire
from joinback.drops import NotLogged
from joinback.errors import InvalidEvent
from joinback.ids import FLOAT_KEY_MAX, key_of, key_text
from joinback.settings import Settings
from joinback.testing import capture

NOWHERE = "redis://127.0.0.1:1/0"


class Rude(str):
    """Text that does not want to be text."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __format__(self, spec: str) -> str:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        raise RuntimeError("no")


class Loans(str, enum.Enum):  # noqa: UP042 - services have these, whose str() is their name
    MAIN = "loans"
    KEY = "loan_17"


class Numbers(enum.IntEnum):
    SEVEN = 7


class Handle:
    """An integer in all but type."""

    def __index__(self) -> int:
        return 17


KEYS: list[tuple[Any, str]] = [
    (17, "17"),
    (-1, "-1"),
    (2**70, str(2**70)),
    (np.int64(1007), "1007"),
    (np.uint8(7), "7"),
    (np.array(7), "7"),
    (pd.Series([1007]).iloc[0], "1007"),
    (Handle(), "17"),
    (Numbers.SEVEN, "7"),
    (Decimal(1007), "1007"),
    (Decimal("1007.00"), "1007"),
    (Decimal("1E+3"), "1000"),
    (UUID(int=5), str(UUID(int=5))),
    (Loans.KEY, "loan_17"),
    (Rude("loan_17"), "loan_17"),
    (joinback.JoinKey("loan_17"), "loan_17"),
    (np.str_("loan_17"), "loan_17"),
]


@pytest.mark.parametrize(("join_key", "text"), KEYS, ids=lambda value: type(value).__name__)
def test_a_key_of_any_integral_kind_is_its_text(join_key: Any, text: str) -> None:
    """A prediction, its feedback and its retraction meet, whichever type the key has in each."""
    client = joinback.Client().init(NOWHERE)
    with capture(client) as events:
        assert client.log_record("loans", inputs=1, outputs=2, join_key=join_key) == text
        assert client.log_record("loans", feedback={"a": 1}, join_key=join_key) == text
        client.retract("loans", join_key)
        client.log_records("loans", feedback=[{"a": 2}], join_keys=[join_key])
    assert {event.join_key for event in events} == {text}
    assert all(type(event.join_key) is str for event in events)
    assert len(events) == 4


@given(st.integers(), st.integers(1 - FLOAT_KEY_MAX, FLOAT_KEY_MAX - 1))
def test_an_integer_and_its_float_are_one_key_in_a_column(number: int, small: int) -> None:
    """A column of ids with a gap becomes floats: the whole ones are the integers they were, where told so."""
    assert key_of(number) == key_text(number) == str(number)
    assert key_text(float(small), whole_floats=True) == str(small)
    with pytest.raises(NotLogged, match="a float is not an id"):
        key_text(float(small))


@pytest.mark.parametrize("value", [17.5, float("nan"), float("inf"), 1e300, float(2**53) * 4, np.float64(0.5)])
def test_a_float_that_is_no_integer_is_no_key(value: float) -> None:
    """Beyond 2**53 a float has lost digits: two ids would be one key."""
    with pytest.raises(NotLogged, match="join_key must be"):
        key_text(value, whole_floats=True)


def test_floats_of_numpy_too() -> None:
    """float32 is no subclass of float, and is taken as one."""
    assert key_text(np.float32(17), whole_floats=True) == "17"
    with pytest.raises(NotLogged):
        key_text(np.float32(17))


REFUSED: list[tuple[Any, str]] = [
    (1.5, "1.5"),
    (17.0, "17.0"),
    (True, "True"),
    (np.True_, "True"),
    (b"k", "b'k'"),
    (Decimal("1.5"), "1.5"),
    (Decimal("NaN"), "NaN"),
    (10**5000, ""),
    (Decimal("1E+999999999"), "1E+999999999"),
    (["k"], "['k']"),
]


@pytest.mark.parametrize(("join_key", "text"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_refused_key_is_never_answered_by_a_new_one(
    join_key: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes back is the text of what was given, or nothing; each kind of call says what a key may be."""
    client = joinback.Client().init(NOWHERE)
    assert client.log_record("loans", inputs=1, outputs=2, join_key=join_key) == text
    client.retract("loans", join_key)
    client.log_records("loans", feedback=[{"a": 1}], join_keys=[join_key])
    # A column of ids becomes floats by one gap, so there 17.0 is the key 17.
    taken = isinstance(join_key, float) and join_key.is_integer()
    assert client.stats()["dropped"]["invalid"] == client.stats()["logged"] - taken == 3 - taken
    assert "join_key" in caplog.text
    assert not any(record.exc_info for record in caplog.records)


def test_names_are_texts_of_our_own(settings: Settings, server: redis.Redis) -> None:
    """An Enum of texts is its value in every key and event, and what its class overrides has no say."""
    client = joinback.Client().init(settings.redis_url, strict=True)
    for application in (Loans.MAIN, Rude("loans"), "loans"):
        client.log_record(
            application,
            inputs=1,
            outputs=2,
            feedback={"a": 1},
            join_key=Loans.KEY,
            version=Loans.MAIN,
            event_id=Rude(f"e{type(application).__name__}"),
            tags={"kind": Loans.MAIN},
        )
        client.retract(application, Loans.KEY, event_id=Rude(f"r{type(application).__name__}"))
    assert client.flush(PATIENCE_S)
    assert server.hkeys(wire.APPLICATIONS_KEY) == [b"loans"]
    record = server.hgetall(wire.record_key("loans", "loan_17"))
    assert sorted(field.decode() for field in record) == sorted(
        f"{kind}:{letter}{name}"
        for name in ("Loans", "Rude", "str")
        for kind, letter in (("prediction", "e"), ("feedback", "e"), ("retraction", "r"))
    )
    assert b'"version":"loans"' in record[b"prediction:eRude"]
    client.close()


@pytest.mark.parametrize("fields", ["clicked", 17, [object().__init_subclass__, None], {"a": 1}.__len__])
def test_fields_of_a_retraction(fields: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Fields are a list of names; what is none is refused with a line, and never raises."""
    client = joinback.Client().init(NOWHERE)
    client.retract("loans", "k", fields=fields)
    if not isinstance(fields, list):
        assert client.stats()["dropped"]["invalid"] == 1
        assert "fields must be a list of names" in caplog.text
    assert not any(record.exc_info for record in caplog.records)


def test_feedback_on_nothing_gets_no_key() -> None:
    """Feedback without the key of a prediction is refused, and answered by no key that nobody can use."""
    client = joinback.Client().init(NOWHERE)
    assert client.log_record("loans", feedback={"a": 1}) == ""
    assert client.stats()["dropped"]["invalid"] == 1
    assert len(client.log_record("loans", inputs=1, outputs=None)) == 32


def test_each_mistake_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Different mistakes of one reason are each described; a repeated one, or one with other numbers, is not."""
    client = joinback.Client().init(NOWHERE)
    for n in range(3):
        client.log_record("loans", inputs=1, outputs=None)
        client.log_record("loans", feedback={"a": 1})
        client.log_record("", inputs=1, outputs=2)
        client.log_record("loans", inputs=1, outputs=2, join_key=1.5 + n)
        client.log_record("loans", inputs="x" * (wire.EVENT_BYTES_MAX + n), outputs=2)
    dropped = client.stats()["dropped"]
    assert (dropped["invalid"], dropped["too_large"]) == (12, 3)
    lines = [record.message for record in caplog.records if "dropped an event" in record.message]
    assert len(lines) == len(set(lines)) == 5


def test_many_different_mistakes_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Messages that differ each time are told up to a bound, and no more of them is remembered."""
    client = joinback.Client().init(NOWHERE)
    for n in range(1_000):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(n))
        client.log_record("loans", inputs={name: object()}, outputs=2)
    assert client.stats()["dropped"]["unencodable"] == 1_000
    assert sum("dropped an event" in record.message for record in caplog.records) == 20
    assert len(client._funnel._complaints._again_at) == 20


def test_a_broken_handler_of_the_host_breaks_no_call(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the service's own logging raises, log_record returns."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("disk full")

    logger, handler = logging.getLogger("joinback"), Broken()
    logger.addHandler(handler)
    try:
        client = joinback.Client().init(NOWHERE)
        assert client.log_record("loans", inputs=1, outputs=None, join_key="k") == "k"
        client.retract("", "k")
        assert client.log_records("loans", inputs=[1], outputs=[]) == []
        assert client.stats()["dropped"]["invalid"] == 3
        # Configured by its first event, with something to tell.
        monkeypatch.setenv("JOINBACK_OF_TOMORROW", "1")
        monkeypatch.setenv("JOINBACK_SPOOL_DIR", "/proc/no/such/place")
        monkeypatch.setenv("JOINBACK_REDIS_URL", settings.redis_url)
        fresh = joinback.Client()
        assert fresh.log_record("loans", inputs=1, outputs=2, join_key="k") == "k"
        assert fresh.flush()
        assert fresh.stats()["sent"] == 1
        fresh.close()
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("option", [None, "environment", "JOINBACK_ENVIRONMENT"])
def test_names_that_utf_8_cannot_hold(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, option: str | None
) -> None:
    """In a version, an environment and the fields of a retraction U+FFFD stands for what is no text, as in values."""
    odd, even = b"caf\xe9".decode(errors="surrogateescape"), "caf\ufffd"
    if option == "JOINBACK_ENVIRONMENT":
        monkeypatch.setenv(option, odd)
    arguments = {option: odd} if option == "environment" else {}
    client = joinback.Client().init(stack.settings.redis_url, **arguments)
    client.log_record("loans", inputs=1, outputs=2, join_key="k", version=odd)
    client.log_record("loans", feedback={odd: 1, "b": 2}, join_key="k", version=odd)
    client.log_records("loans", inputs=[1], outputs=[2], join_keys=["n"], versions=[odd])
    client.log_records("loans", inputs=[1], outputs=[2], join_keys=["m"], version=odd)
    client.retract("loans", "k", fields=[odd])
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 5
    stack.drain()
    assert [row["version"] for row in stack.rows()] == [even] * 3
    assert {row["environment"] for row in stack.rows()} == {even if option else None}
    assert json.loads(stack.row("k")["feedback"]) == {"b": 2}
    assert caplog.text == ""
    client.close()


@pytest.mark.parametrize(
    "named",
    [
        {"event_ids": []},
        {"event_ids": "e1"},
        {"event_ids": [None]},
        {"event_ids": [7]},
        {"event_ids": ["e1", ""]},
        {"event_ids": ["feedback:"]},
        {"event_ids": ["e" * (wire.EVENT_ID_BYTES_MAX + 1)]},
        {"event_ids": 7},
        {"retraction_ids": []},
        {"retraction_ids": ["r1", None]},
        {"retraction_ids": ["r1", "r2"], "event_id": "r2"},
        {"retraction_ids": ["retraction:r2"], "event_id": "r2"},
    ],
)
def test_a_retraction_that_names_nothing(named: Any) -> None:
    """Ids that no event can have, and its own, are refused: it would take nothing back, and nobody would know."""
    client = joinback.Client().init(NOWHERE)
    client.retract("loans", "k", **named)
    assert (client.stats()["dropped"]["invalid"], client.stats()["buffered"]) == (1, 0)
    strict = joinback.Client().init(NOWHERE, strict=True)
    with pytest.raises(InvalidEvent, match=r"event ids|itself"):
        strict.retract("loans", "k", **named)


def test_ids_of_a_retraction_as_they_are_shown(stack: Stack) -> None:
    """An id with its kind, as a row's history and `explain` show it, is taken for the id."""
    client = stack.client
    client.log_record("loans", inputs=1, outputs=2, join_key="k", event_id="p")
    client.log_record("loans", feedback={"a": 1}, join_key="k", event_id="e1")
    client.log_record("loans", feedback={"a": 2}, join_key="k", event_id="feedback:e2")
    assert client.flush(PATIENCE_S)
    client.retract("loans", "k", event_ids=["feedback:e1", "feedback:feedback:e2"], event_id="r1")
    assert client.flush(PATIENCE_S)
    stack.drain()
    assert stack.row("k")["feedback"] is None
    client.retract("loans", "k", retraction_ids=["retraction:r1"])
    assert client.flush(PATIENCE_S)
    stack.drain()
    assert json.loads(stack.row("k")["feedback"]) == {"a": 2}
