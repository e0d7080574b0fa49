"""The shim for Gantry's SDK: old code runs, and what becomes of its events."""

import functools
import inspect
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from conftest import PATIENCE_S, Stack, process_environment

import joinback
from joinback import gantry, wire
from joinback._delivery.rates import Rates
from joinback.gantry import exceptions, recorder
from joinback.gantry.options import gantry_options
from joinback.patience import Patience
from joinback.redaction import Hash
from joinback.sampling import keeps
from joinback.testing import Event, capture

NOWHERE = "redis://127.0.0.1:1/0"
NOON = datetime(2023, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variables of Gantry's, a shim that nobody has initialised, and the log as it was."""
    for name in [name for name in os.environ if name.startswith(("GANTRY_", "AWS_LAMBDA_"))]:
        monkeypatch.delenv(name)
    shim = gantry._client
    monkeypatch.setattr(shim, "initialized", False)
    monkeypatch.setattr(shim, "send_in_background", True)
    monkeypatch.setattr(shim, "_has_logged_api_key", False)
    monkeypatch.setattr(shim._recorder, "environment", "dev")
    logger = logging.getLogger("joinback")
    level, handlers = logger.level, logger.handlers[:]
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
    joinback.default_client._funnel._rates.configured.clear()


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """What the shim logs, strictly."""
    with capture() as events:
        gantry.init(api_key="secret", environment="test")
        yield events


@pytest.fixture
def lenient() -> Iterator[joinback.Client]:
    """The process-wide client as services have it: nothing raises. It has nowhere to send to."""
    joinback.init(NOWHERE)
    gantry.init()
    yield joinback.default_client
    joinback.close(0)


def dropped(client: joinback.Client) -> dict[str, int]:
    return {reason: number for reason, number in client.stats()["dropped"].items() if number}


# --- the public names -------------------------------------------------------------------------------------

SIGNATURES = {
    "init": "api_key=None logging_level=None environment=None send_in_background=None",
    "log_record": "application version=None inputs=None outputs=None feedback_id=None feedback=None "
    "feedback_keys=None ignore_inputs=None timestamp=None sample_rate=1.0 tags=None join_key=None",
    "log_records": "application version=None inputs=None outputs=None feedback_keys=None feedback_ids=None "
    "feedbacks=None ignore_inputs=None timestamps=None sort_on_timestamp=True sample_rate=1.0 as_batch=False "
    "tags=None join_keys=None row_tags=None global_tags=None",
    "log": "application version=None inputs=None outputs=None feedbacks=None ignore_inputs=None tags=None "
    "timestamps=None sort_on_timestamp=True sample_rate=1.0 row_tags=None global_tags=None join_keys=None "
    "as_batch=False run_id=None run_tags=None",
    "log_file": "application filepath version=None timestamp=None inputs=None outputs=None feedbacks=None tags=None "
    "feedback_id=None feedback_keys=None sep=',' join_key=None",
    "ping": "",
    "ready": "",
    "get_client": "",
    "setup_logger": "level='INFO'",
    "compute_feedback_id": "inputs feedback_keys=None",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    """Each function takes Gantry's arguments, in Gantry's order, with Gantry's defaults."""
    parameters = inspect.signature(getattr(gantry, name)).parameters.values()
    assert " ".join(str(p.replace(annotation=p.empty)) for p in parameters) == SIGNATURES[name]


def test_all_is_what_is_public() -> None:
    """`__all__` is the names above, the key class and the exception."""
    assert set(gantry.__all__) == {*SIGNATURES, "JoinKey", "ClientNotInitialized"}
    assert gantry.JoinKey is joinback.JoinKey
    assert issubclass(exceptions.ClientNotInitialized, exceptions.GantryException)


def test_joinback_alone_does_not_import_it() -> None:
    """Who does not come from Gantry does not pay for the shim; and the shim imports no pandas or numpy."""
    code = "import sys, joinback; print('joinback.gantry' in sys.modules);"
    code += "import joinback.gantry; print(bool({'pandas', 'numpy', 'csv'} & set(sys.modules) - {'csv'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: gantry.log_record("loans", inputs={"a": 1}, outputs={"b": 1}),
        lambda: gantry.log_records("loans", inputs=[{"a": 1}], outputs=[{"b": 1}]),
        lambda: gantry.log("loans", inputs={"a": 1}, outputs={"b": 1}),
        lambda: gantry.log_file("loans", "none.csv"),
        gantry.ping,
        gantry.ready,
    ],
)
def test_before_init(call: Any) -> None:
    """Every call before `init` raises ClientNotInitialized, which says what to do; there is no client to get."""
    with pytest.raises(gantry.ClientNotInitialized, match="init"):
        call()
    assert gantry.get_client() is None


# --- init -----------------------------------------------------------------------------------------------------


def test_the_api_key_is_told_once(caplog: pytest.LogCaptureFixture, lenient: joinback.Client) -> None:
    """An API key is accepted, from wherever it comes, and one line of the log says that it has no use."""
    with caplog.at_level(logging.INFO, "joinback"):
        gantry.init("key")
        gantry.init(api_key="key")
    assert caplog.text.count("API key is ignored") == 1
    assert gantry.get_client() is not None


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ({}, {}, (None, "INFO", True, False)),
        ({"environment": "a"}, {"GANTRY_ENVIRONMENT": "b"}, ("a", "INFO", True, False)),
        ({}, {"GANTRY_ENVIRONMENT": "b", "GANTRY_LOGGING_LEVEL": "ERROR"}, ("b", "ERROR", True, False)),
        ({"logging_level": "DEBUG"}, {"GANTRY_LOGGING_LEVEL": "ERROR"}, (None, "DEBUG", True, False)),
        ({}, {"GANTRY_API_KEY": "k", "GANTRY_SEND_IN_BACKGROUND": "False"}, (None, "INFO", False, True)),
        ({"send_in_background": True}, {"GANTRY_SEND_IN_BACKGROUND": "0"}, (None, "INFO", True, False)),
        ({}, {"AWS_LAMBDA_FUNCTION_NAME": "f"}, (None, "INFO", False, False)),
        ({}, {"AWS_LAMBDA_FUNCTION_NAME": "f", "GANTRY_SEND_IN_BACKGROUND": "yes"}, (None, "INFO", True, False)),
    ],
)
def test_arguments_come_before_the_environment(
    given: dict[str, Any], environ: dict[str, str], expected: tuple[Any, ...]
) -> None:
    """What is not given comes from Gantry's variables; in AWS Lambda the default is to wait for Redis."""
    arguments = {"api_key": None, "logging_level": None, "environment": None, "send_in_background": None} | given
    options = gantry_options(**arguments, environ=environ)
    found = (options.environment, options.logging_level, options.send_in_background, options.has_api_key)
    assert found == expected


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [("GANTRY_LOGGING_LEVEL", "LOUD", "LOUD"), ("GANTRY_SEND_IN_BACKGROUND", "maybe", "GANTRY_SEND_IN_BACKGROUND")],
)
def test_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str) -> None:
    """`init` raises ConfigurationError for a variable that means nothing."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(joinback.ConfigurationError, match=told):
        gantry.init()


def test_init_leaves_joinbacks_own_settings_alone() -> None:
    """Redaction that `joinback.init` was given applies to the shim's events: `gantry.init` does not undo it."""
    joinback.init(NOWHERE, redact=["inputs.ssn"], environment="production")
    with capture() as events:
        gantry.init()
        gantry.log_record("loans", inputs={"ssn": "1", "amount": 2}, outputs={"p": 1})
    joinback.close(0)
    assert (events[0].inputs, events[0].environment) == ({"amount": 2}, "production")


def test_setup_logger() -> None:
    """In a process without logging of its own, lines from the level on go to stdout; "" changes nothing."""
    code = "import joinback.gantry as g, logging; g.setup_logger('ERROR'); g.setup_logger('')\n"
    code += "g.setup_logger('WARNING'); log = logging.getLogger('joinback'); log.warning('seen'); log.info('not seen')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["seen"]
    assert done.stderr == ""


# --- one record ---------------------------------------------------------------------------------------------


def test_a_prediction_and_its_feedback(events: list[Event]) -> None:
    """A prediction with all it can have, then its feedback: the columns of Joinback's events."""
    tags = {"team": "risk"}
    key = gantry.log_record(
        application="loans",
        version=10,
        inputs={"amount": 900, "ssn": "123"},
        outputs={"default": 0.07},
        ignore_inputs=["ssn", "absent"],
        timestamp=NOON,
        tags=tags,
        join_key="loan_17",
    )
    assert key == "loan_17"
    assert gantry.log_record("loans", "10", feedback={"repaid": True}, join_key="loan_17") == "loan_17"
    prediction, feedback = events
    assert (prediction.kind, prediction.application, prediction.join_key) == ("prediction", "loans", "loan_17")
    assert (prediction.inputs, prediction.outputs) == ({"amount": 900}, {"default": 0.07})
    assert (prediction.version, prediction.environment, prediction.at) == ("10", "test", NOON)
    assert prediction.tags == {"team": "risk", "env": "test"}
    assert prediction.sample_rate is None
    assert (feedback.kind, feedback.feedback, feedback.version) == ("feedback", {"repaid": True}, "10")
    assert feedback.tags == {"env": "test"}
    assert tags == {"team": "risk"}


def test_both_in_one_call(events: list[Event]) -> None:
    """Inputs, outputs and feedback in one call are a prediction and a feedback event of one key and one id."""
    key = gantry.log_record("loans", inputs={"a": 1}, outputs=[1, 2], feedback={"b": 1}, timestamp=NOON)
    assert [event.kind for event in events] == ["prediction", "feedback"]
    assert {event.join_key for event in events} == {key}
    assert {event.at for event in events} == {NOON}
    assert events[0].outputs == [1, 2]


def test_a_key_is_made_if_none_is_given(events: list[Event]) -> None:
    """Predictions without a key, or with an empty one, get a key each."""
    keys = {gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key=key) for key in (None, None, "")}
    assert len(keys) == 3
    assert keys == {event.join_key for event in events}


def test_the_environment_of_a_tag(events: list[Event]) -> None:
    """The tag `env` of a call is its environment, before that of `init`."""
    gantry.log_record("loans", inputs={"a": 1}, outputs=1, tags={"env": "staging"})
    gantry.log_records("loans", inputs=[{"a": 1}], outputs=[1], row_tags=[{"env": "canary"}])
    assert [(event.environment, event.tags) for event in events] == [
        ("staging", {"env": "staging"}),
        ("canary", {"env": "canary"}),
    ]


@pytest.mark.parametrize("outputs", [0, 0.0, False, "", np.array([0.1, 0.9]), np.float64(0), {}])
def test_outputs_that_are_false(events: list[Event], outputs: Any) -> None:
    """Zero, False, the empty text and arrays are outputs. Gantry took the first four for none, and lost the call."""
    gantry.log_record("loans", inputs={"a": 1}, outputs=outputs)
    assert events[0].outputs == (outputs.tolist() if hasattr(outputs, "tolist") else outputs)


def test_empty_sides_are_none(events: list[Event]) -> None:
    """Empty inputs and outputs with feedback are feedback alone; empty feedback with a prediction is none."""
    gantry.log_record("loans", inputs={}, outputs={}, feedback={"a": 1}, join_key="k")
    gantry.log_record("loans", inputs={"a": 1}, outputs={"b": 1}, feedback={})
    assert [event.kind for event in events] == ["feedback", "prediction"]


def test_inputs_of_another_kind(events: list[Event]) -> None:
    """A row of a frame may be the inputs, and what is to be ignored is ignored; without names it is refused."""
    row = pd.Series({"amount": 900, "ssn": "1"})
    gantry.log_record("loans", inputs=row, outputs=1, ignore_inputs=["ssn"])
    assert events[0].inputs == {"amount": 900}
    with pytest.raises(joinback.InvalidEvent, match="ignore_inputs needs inputs with names"):
        gantry.log_record("loans", inputs=[900, "1"], outputs=1, ignore_inputs=["ssn"])


def test_a_time_ahead(events: list[Event]) -> None:
    """A time a second ahead, by which Gantry refused the whole call, is logged as it is; a naive one is UTC."""
    ahead = datetime.now(UTC) + timedelta(seconds=1)
    gantry.log_record("loans", inputs={"a": 1}, outputs=1, timestamp=ahead.replace(tzinfo=None))
    assert events[0].at == ahead


# --- keys -----------------------------------------------------------------------------------------------------

FEEDBACK_IDS = [
    ({"id": "12345"}, None, "80ef66be81dbaba30db25d1336217d0d"),
    ({"id": "67890"}, None, "4ce58e185be87947375e296071b59a93"),
    ({"foo": "bar"}, ["foo"], "42a5b7b99b3717d1eaeb72a6948dabc9"),
    ({"foo": "baz", "more": 1}, ["foo"], "143654a5f0a059a178924baf9b815ea6"),
]
"""Of Gantry's own tests: its hash is of the values alone."""


@pytest.mark.parametrize(("inputs", "names", "expected"), FEEDBACK_IDS)
def test_feedback_ids(inputs: dict[str, Any], names: list[str] | None, expected: str) -> None:
    """The id of some inputs is the one that Gantry computed."""
    assert gantry.compute_feedback_id(inputs, names) == expected


def test_the_published_package_agrees() -> None:
    """Where Gantry's own package can be imported, its keys are ours, for values of every type that it took."""
    keys = pytest.importorskip("gantry.logger.utils", reason="needs Gantry's package", exc_type=ImportError)
    ids = pytest.importorskip("gantry.utils", exc_type=ImportError)
    values: dict[str, Any] = {
        "text": "é😀",
        "uuid": UUID(int=7),
        "naive": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - naive is the case
        "aware": NOON,
        "numpy": [np.float32(0.5), np.float64(0.1), np.int32(3), np.int64(4), np.bool_(True)],
        "nested": {"z": None, "a": [1.5, True]},
    }
    for fields in [values, *({name: value} for name, value in values.items())]:
        assert gantry.JoinKey.from_dict(fields) == keys.JoinKey.from_dict(fields)
        assert gantry.compute_feedback_id(fields) == ids.compute_feedback_id(fields)


def test_a_feedback_id_cannot_be_made() -> None:
    """Of what is no dict, of a name that is not there, and of a value that Gantry refused."""
    with pytest.raises(TypeError):
        gantry.compute_feedback_id([("a", 1)])  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        gantry.compute_feedback_id({"a": 1}, ["b"])
    with pytest.raises(TypeError, match="object"):
        gantry.compute_feedback_id({"a": object()})


def test_deprecated_keys_still_join(events: list[Event]) -> None:
    """A prediction by feedback_keys and its feedback by feedback_id have one key, and each use is warned of."""
    with pytest.warns(DeprecationWarning, match="feedback_keys was deprecated in Gantry; use join_key") as told:
        key = gantry.log_record(
            "loans",
            inputs={"id": 7, "day": "mon", "x": 1},
            outputs=1,
            feedback_keys=["id", "day"],
            ignore_inputs=["id"],
        )
    assert {warning.filename for warning in told} == {__file__}
    with pytest.warns(DeprecationWarning, match="feedback_id"):
        gantry.log_record("loans", feedback={"ok": True}, feedback_id={"day": "mon", "id": 7})
    with pytest.warns(DeprecationWarning, match="feedback_id"):
        assert gantry.log_record("loans", feedback={"ok": True}, feedback_id="as it is") == "as it is"
    assert [event.join_key for event in events] == [key, key, "as it is"]
    assert key == gantry.compute_feedback_id({"id": 7, "day": "mon"})


def test_deprecated_keys_of_batches(events: list[Event]) -> None:
    """Batches by feedback_keys, whose Decimals and NaNs Gantry converted first, join feedback_ids and single calls."""
    rows = [{"price": Decimal("1.5"), "x": 1}, {"price": float("nan"), "x": 2}]
    with pytest.warns(DeprecationWarning, match="feedback_keys"):
        _, keys = gantry.log_records("loans", inputs=rows, outputs=[{"p": 1}, {"p": 2}], feedback_keys=["price"])
    ids = [{"price": 1.5}, {"price": None}]
    with pytest.warns(DeprecationWarning, match="feedback_ids"):
        assert gantry.log_records("loans", feedbacks=[{"a": 1}, {"a": 2}], feedback_ids=ids) == (None, keys)
    assert len({event.join_key for event in events}) == 2


def test_a_hashed_key_is_sampled_by_its_hash() -> None:
    """With `Hash("join_key")` a key comes back if and only if its pseudonym is in the sample."""
    rule = Hash("join_key", key="secret")
    joinback.init(NOWHERE, redact=[rule])
    with capture() as events:
        gantry.init()
        for n in range(100):
            kept = gantry.log_record("loans", inputs={"a": n}, outputs=1, join_key=f"k{n}", sample_rate=0.3)
            assert kept == (f"k{n}" if keeps("loans", rule.apply(f"k{n}"), 0.3) else None)
    assert 0 < len(events) < 100
    joinback.close(0)


# --- what cannot be logged ---------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"inputs": {"a": 1}}, "needs both inputs and outputs"),
    ({"outputs": {"a": 1}}, "needs both inputs and outputs"),
    ({"feedback": {"a": 1}}, "feedback needs the join_key"),
    ({}, "nothing to log"),
    ({"feedback": [1], "join_key": "k"}, "feedback must be a dict"),
    ({"inputs": {"a": 1}, "outputs": 1, "timestamp": "today"}, "timestamp must be a datetime"),
    ({"inputs": {"a": 1}, "outputs": 1, "join_key": ["k"]}, "join_key must be a str"),
    ({"inputs": {"a": 1}, "outputs": 1, "sample_rate": 1.1}, "sample_rate must be between 0 and 1"),
    ({"feedback": {"a": 1}, "join_key": "k", "sample_rate": -1}, "sample_rate must be between 0 and 1"),
    ({"inputs": {"a": 1}, "outputs": 1, "tags": ["a"]}, "tags of one record must be a dict"),
    ({"inputs": {"a": 1}, "outputs": 1, "join_key": "k", "feedback_id": "f"}, "give only one of join_key, feedback_id"),
    ({"inputs": {"a": 1}, "outputs": 1, "feedback_keys": ["b"]}, "feedback_keys names 'b'"),
    ({"inputs": {"a": object()}, "outputs": 1, "feedback_keys": ["a"]}, "no join key: .* object"),
]


@pytest.mark.filterwarnings("ignore:feedback_:DeprecationWarning")
@pytest.mark.parametrize(("arguments", "told"), WRONG)
def test_a_wrong_call(
    caplog: pytest.LogCaptureFixture, lenient: joinback.Client, arguments: dict[str, Any], told: str
) -> None:
    """A call that cannot be logged returns None, is one counted drop, and the log says why; nothing is raised."""
    assert gantry.log_record("loans", **arguments) is None
    assert dropped(lenient) == {"invalid": 1}
    with capture(), pytest.raises(joinback.InvalidEvent, match=told):
        gantry.log_record("loans", **arguments)
    assert "joinback dropped an event (invalid)" in caplog.text


def test_a_value_without_a_rule(lenient: joinback.Client) -> None:
    """An object that is no JSON drops its own event, and no other of the batch."""
    inputs = [{"a": 1}, {"a": object()}, {"a": 3}]
    _, keys = gantry.log_records("loans", inputs=inputs, outputs=[1, 2, 3])
    assert len(set(keys)) == 3
    assert dropped(lenient) == {"unencodable": 1}
    assert lenient.stats()["buffered"] == 2


def test_an_object_that_raises(lenient: joinback.Client) -> None:
    """Whatever a caller's object does when it is looked at, the call returns, and the drop is counted."""

    class Trap(dict[str, Any]):
        def __len__(self) -> int:
            raise RuntimeError("no")

    assert gantry.log_record("loans", inputs=Trap(), outputs=Trap()) is None
    assert dropped(lenient) == {"internal_error": 1}


def test_warnings_as_errors(events: list[Event]) -> None:
    """Python with -W error raises the deprecation, which is what it asked for, rather than count a drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DeprecationWarning):
            gantry.log_record("loans", feedback={"a": 1}, feedback_id="k")
    assert events == []


# --- many records ----------------------------------------------------------------------------------------------


def test_a_batch(events: list[Event]) -> None:
    """Lists of dicts with all they can have; keys come back in the caller's order, the earliest was sent first."""
    times = [NOON, (NOON - timedelta(days=1)).replace(tzinfo=None), NOON - timedelta(days=2)]
    result = gantry.log_records(
        application="loans",
        inputs=[{"A": 100, "B": 1}, {"A": 101, "B": 1}, {"A": 102, "B": 1}],
        outputs=[{"p": "foo"}, {"p": "bar"}, {"p": "baz"}],
        feedbacks=[{"q": 1}, {}, None],
        version=1,
        ignore_inputs=["B"],
        timestamps=times,
        join_keys=["x", "y", "z"],
        row_tags=[{"row": "1", "level": "row"}, {}, {"row": "3"}],
        global_tags={"level": "global"},
    )
    assert result == (None, ["x", "y", "z"])
    assert [(event.kind, event.join_key) for event in events] == [
        ("prediction", "z"),
        ("prediction", "y"),
        ("prediction", "x"),
        ("feedback", "x"),
    ]
    third, second, first, feedback = events
    assert (first.inputs, first.outputs, first.version, first.at) == ({"A": 100}, {"p": "foo"}, "1", NOON)
    assert first.tags == feedback.tags == {"env": "test", "row": "1", "level": "row"}
    assert (second.tags, third.tags) == (
        {"env": "test", "level": "global"},
        {"env": "test", "level": "global", "row": "3"},
    )
    assert second.at == NOON - timedelta(days=1)


def test_a_batch_in_its_own_order(events: list[Event]) -> None:
    """Without sort_on_timestamp records are sent as they come."""
    times = [NOON, NOON - timedelta(days=1)]
    gantry.log_records("loans", inputs=[{}, {}], outputs=[1, 2], timestamps=times, sort_on_timestamp=False)
    assert [event.outputs for event in events] == [1, 2]


def test_one_wrong_row(lenient: joinback.Client) -> None:
    """A row with a wrong time or key does not cost the others their place, as it did in Gantry."""
    arguments: dict[str, Any] = {"timestamps": [NOON, "today", NOON], "join_keys": ["a", "b", "c"]}
    assert gantry.log_records("loans", inputs=[{}, {}, {}], outputs=[1, 2, 3], **arguments) == (None, ["a", "b", "c"])
    assert dropped(lenient) == {"invalid": 1}
    assert lenient.stats()["buffered"] == 2


def test_no_key_is_made_up(lenient: joinback.Client) -> None:
    """A record that was refused for its key, or has none to be feedback on, is answered by "", in its place."""
    feedbacks: Any = [{"y": 1}] * 4 + [5]
    keys: Any = [2.5, None, np.int64(7), "k", "l"]
    assert gantry.log_records("loans", feedbacks=feedbacks, join_keys=keys) == (None, ["", "", "7", "k", "l"])
    assert (dropped(lenient), lenient.stats()["buffered"]) == ({"invalid": 3}, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"join_keys": [b"a", b"b"]}, "join_keys: 2 of 2 cells are wrong"),
        ({"timestamps": ["today", "now"]}, "timestamps: 2 of 2 cells are wrong"),
        ({"feedbacks": [1, 2]}, "feedbacks: 2 of 2 cells are wrong"),
        ({"row_tags": ["a", "b"]}, "row_tags: 2 of 2 cells are wrong"),
        ({"outputs": None}, "a prediction needs both"),
        ({"inputs": None, "outputs": None, "feedbacks": [{"y": 1}] * 2}, "feedback needs the join_keys"),
    ],
)
def test_a_column_without_a_right_cell(lenient: joinback.Client, arguments: dict[str, Any], told: str) -> None:
    """A column of the wrong type is one drop with the count, not one a row."""
    columns: dict[str, Any] = {"inputs": [{"a": 1}] * 2, "outputs": [1, 2]} | arguments
    assert gantry.log_records("loans", **columns) == (None, [])
    assert dropped(lenient) == {"invalid": 1}
    with capture(), pytest.raises(joinback.InvalidEvent, match=told):
        gantry.log_records("loans", **columns)


def test_missing_labels_of_a_batch(events: list[Event]) -> None:
    """A missing cell of a frame of feedbacks says nothing; an explicit None of a dict is a value."""
    frame = pd.DataFrame({"clicked": [1.0, np.nan, np.nan], "bought": [np.nan, True, np.nan]})
    gantry.log_records("loans", feedbacks=frame, join_keys=pd.Series([1.0, 2.0, 3.0]), timestamps=["2023-05-01"] * 3)
    gantry.log("loans", feedbacks=[{"y": None, "z": float("nan")}], join_keys=["4"])
    assert [(event.join_key, event.feedback) for event in events] == [
        ("1", {"clicked": 1}),
        ("2", {"bought": True}),
        ("4", {"y": None}),
    ]


def test_an_id_of_a_batch(events: list[Event]) -> None:
    """With as_batch the records share an id, which is returned and is a tag to look for; without records, none."""
    batch_id, keys = gantry.log_records("loans", inputs=[{"a": 1}, {"a": 2}], outputs=[1, 2], as_batch=True)
    assert batch_id is not None
    assert UUID(batch_id)
    assert [event.tags["batch_id"] for event in events] == [batch_id] * 2
    assert [event.join_key for event in events] == keys
    assert gantry.log_records("loans", inputs=[], outputs=[], as_batch=True) == (None, [])


@pytest.mark.parametrize("tags", [{"t": "1"}, [{"t": "1"}, {"t": "1"}]])
def test_deprecated_tags(events: list[Event], tags: Any) -> None:
    """Tags of a batch, one dict or one a row, are warned of, and go on the rows."""
    with pytest.warns(DeprecationWarning, match="tags was deprecated in Gantry; use row_tags or global_tags"):
        gantry.log_records("loans", inputs=[{}, {}], outputs=[1, 2], tags=tags, global_tags={"u": "2"})
    assert [event.tags for event in events] == [{"t": "1", "u": "2", "env": "test"}] * 2
    assert tags in ({"t": "1"}, [{"t": "1"}, {"t": "1"}])


def test_frames(events: list[Event]) -> None:
    """DataFrames, Series and arrays; a Series without a name has the field that Gantry gave it."""
    frame = pd.DataFrame({"amount": [1, 2], "ssn": ["x", "y"]})
    gantry.log_records(
        "loans",
        inputs=frame,
        outputs=pd.Series([0.1, 0.2]),
        feedbacks=np.array([{"q": 1}, {"q": 2}]),
        ignore_inputs=["ssn"],
        timestamps=pd.DatetimeIndex(["2023-05-01", "2023-05-02"]),
        join_keys=pd.Series(["a", "b"], name="id"),
        row_tags=pd.DataFrame({"shop": ["s1", "s2"]}),
    )
    predictions = [event for event in events if event.kind == "prediction"]
    assert [(event.inputs, event.outputs, event.at.day) for event in predictions] == [
        ({"amount": 1}, {"0": 0.1}, 1),
        ({"amount": 2}, {"0": 0.2}, 2),
    ]
    assert [(event.join_key, event.tags["shop"]) for event in predictions] == [("a", "s1"), ("b", "s2")]
    assert [event.feedback for event in events if event.kind == "feedback"] == [{"q": 1}, {"q": 2}]
    assert list(frame.columns) == ["amount", "ssn"]


def test_sizes_must_match(caplog: pytest.LogCaptureFixture, lenient: joinback.Client) -> None:
    """Columns that do not fit are one drop, with their lengths in the log; the caller can still unpack the answer."""
    batch_id, keys = gantry.log_records("loans", inputs=[{}, {}], outputs=[1])
    assert (batch_id, keys) == (None, [])
    assert "different lengths: {'inputs': 2, 'outputs': 1}" in caplog.text
    assert gantry.log_records("loans") == (None, [])
    assert dropped(lenient) == {"invalid": 2}


def test_more_than_the_buffer_holds(settings: Any) -> None:
    """A backfill larger than the buffer waits for Redis as it goes, and loses nothing."""
    joinback.init(settings.redis_url, buffer_events_max=2_000)
    gantry.init()
    number = 10_000
    _, keys = gantry.log_records("loans", inputs=[{"n": n} for n in range(number)], outputs=[1] * number)
    assert len(set(keys)) == number
    assert joinback.flush(PATIENCE_S)
    assert (joinback.stats()["sent"], dropped(joinback.default_client)) == (number, {})
    joinback.close()


def test_a_bulk_load_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is away such a call waits until its patience ends, and what the buffer cannot hold is counted."""
    monkeypatch.setattr(recorder, "Patience", functools.partial(Patience, wait_s=0.1))
    joinback.init(NOWHERE, buffer_events_max=1_000)
    gantry.init()
    _, keys = gantry.log_records("loans", inputs=[{}] * 3_000, outputs=[1] * 3_000)
    assert len(set(keys)) == 3_000
    assert (dropped(joinback.default_client), joinback.stats()["buffered"]) == ({"buffer_full": 2_100}, 900)
    joinback.close(0)


# --- log --------------------------------------------------------------------------------------------------------


def test_log_one(events: list[Event]) -> None:
    """Dicts are one record, whose key is returned. Gantry lost it unless there was feedback, and its other tags."""
    key = gantry.log("loans", inputs={"a": 1, "ssn": 2}, outputs=[0.1, 0.9], ignore_inputs=["ssn"], version=3)
    assert gantry.log("loans", feedbacks={"ok": 1}, join_keys=key, timestamps=NOON, row_tags={"r": "1"}) == key
    gantry.log("loans", inputs={"a": 1}, outputs={}, feedbacks={"ok": 1}, global_tags={"g": "1"}, run_id="run")
    assert [(event.kind, event.join_key == key) for event in events] == [
        ("prediction", True),
        ("feedback", True),
        ("prediction", False),
        ("feedback", False),
    ]
    assert (events[0].inputs, events[0].outputs, events[0].version) == ({"a": 1}, [0.1, 0.9], "3")
    assert (events[1].at, events[1].tags) == (NOON, {"r": "1", "env": "test"})
    assert events[2].tags == {"g": "1", "run_id": "run", "env": "test"}


def test_log_many(events: list[Event]) -> None:
    """Columns are many records, answered as log_records does."""
    batch_id, keys = gantry.log(
        "loans",
        inputs=pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        outputs=[5, 6],
        ignore_inputs=["b"],
        as_batch=True,
        run_tags={"t": "1"},
    )
    assert [(event.join_key, event.inputs, event.outputs) for event in events] == [
        (keys[0], {"a": 1}, 5),
        (keys[1], {"a": 2}, 6),
    ]
    assert events[0].tags == {"t": "1", "env": "test", "batch_id": batch_id}
    assert gantry.log("loans", feedbacks=[{"ok": 1}, {"ok": 2}], join_keys=keys) == (None, keys)


def test_log_what_is_nothing(lenient: joinback.Client) -> None:
    """A wrong call returns what can be unpacked, and is counted."""
    assert gantry.log("loans") == (None, [])
    assert gantry.log("loans", inputs={"a": 1}) is None
    assert dropped(lenient) == {"invalid": 2}


# --- sampling ----------------------------------------------------------------------------------------------------


def test_a_rate_of_a_call(events: list[Event]) -> None:
    """A call's rate is decided by its key, stands on the row, and is told by the result; feedback agrees with it."""
    rate, keys = 0.3, [f"k{n}" for n in range(200)]
    kept = [gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key=k, sample_rate=rate) for k in keys]
    assert kept == [key if keeps("loans", key, rate) else None for key in keys]
    assert {event.sample_rate for event in events} == {rate}
    predicted = [event.join_key for event in events]
    assert 30 < len(predicted) < 90
    for key in keys:
        gantry.log_record("loans", feedback={"ok": 1}, join_key=key, sample_rate=rate)
    assert [event.join_key for event in events if event.kind == "feedback"] == predicted


def test_a_rate_of_a_batch(events: list[Event]) -> None:
    """All keys of a sampled batch come back, so that they can be matched with its rows; one call's sides agree."""
    keys = [f"k{n}" for n in range(100)]
    _, answer = gantry.log_records(
        "loans", inputs=[{}] * 100, outputs=[1] * 100, feedbacks=[{"a": 1}] * 100, join_keys=keys, sample_rate=0.5
    )
    assert answer == keys
    both = [[event.join_key for event in events if event.kind == kind] for kind in ("prediction", "feedback")]
    assert both[0] == both[1] == [key for key in keys if keeps("loans", key, 0.5)]


def test_the_rates_of_all_or_nothing(events: list[Event]) -> None:
    """At 0 nothing is logged, at 1 everything; both are counted."""
    assert gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key="k", sample_rate=0) is None
    assert gantry.log_record("loans", feedback={"a": 1}, join_key="k", sample_rate=0.0) is None
    assert gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key="k", sample_rate=1) == "k"
    assert len(events) == 1
    assert joinback.stats()["dropped"]["sampled_out"] == 2


def test_the_published_rate(settings: Any, server: Any) -> None:
    """The highest rate of the calls is published with their first events, and feedback everywhere follows it."""
    joinback.init(settings.redis_url)
    gantry.init()
    keys = [f"k{n}" for n in range(500)]
    for key in keys:
        gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key=key, sample_rate=0.2)
        # A rarer kind of call, before and between the others: its rate must not lower the published one.
        gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key=f"rare_{key}", sample_rate=0.05)
    assert joinback.flush(PATIENCE_S)
    assert json.loads(server.hget(wire.APPLICATIONS_KEY, "loans")) == {"shards": 1, "sample_rate": 0.2}
    telling = joinback.Client().init(settings.redis_url)
    for key in keys:
        telling.log_record("loans", feedback={"ok": True}, join_key=key)
    assert telling.flush()
    assert telling.stats()["sent"] == sum(keeps("loans", key, 0.2) for key in keys)
    # Raised: the very next feedback must not be dropped by the rate that the sender last read.
    late = next(f"late{n}" for n in range(1_000) if not keeps("loans", f"late{n}", 0.2))
    gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key=late)
    assert gantry.log_record("loans", feedback={"ok": True}, join_key=late) == late
    assert joinback.flush(PATIENCE_S)
    assert len(server.hkeys(wire.record_key(wire.tag("loans"), late))) == 2
    assert json.loads(server.hget(wire.APPLICATIONS_KEY, "loans"))["sample_rate"] == 1.0
    telling.close()
    joinback.close()


def test_joinbacks_own_rate_is_an_upper_bound() -> None:
    """A rate that an operator set applies to old calls that name none, and follows changes."""
    rates = Rates({"loans": 0.01})

    def of_call(application: str, call_rate: float) -> float:
        return rates.of_call(application, call_rate, predicts=True)

    assert of_call("loans", 1.0) == 0.01
    assert of_call("loans", 0.001) == 0.001
    assert rates.configured == {"loans": 0.01}
    rates.configure({"loans": 0.5})
    assert of_call("loans", 1.0) == 0.5
    assert [of_call("ads", rate) for rate in (0.1, 0.7, 0.3, 0)] == [0.1, 0.7, 0.3, 0]
    assert rates.configured == {"loans": 0.5, "ads": 0.7}
    # The rate that calls had is an operator's now.
    rates.configure({"ads": 0.7})
    assert of_call("ads", 1.0) == 0.7


# --- files --------------------------------------------------------------------------------------------------------


def write(path: Path, text: str, **options: Any) -> Path:
    path.write_text(text, **options)
    return path


def test_a_file(tmp_path: Path, events: list[Event]) -> None:
    """Columns are found by their prefixes, typed as wholes, and lines become predictions and feedback."""
    file = write(
        tmp_path / "loans.csv",
        "input_amount,input_zip,input_new,input_note,output_default,feedback_repaid,tags_team,timestamp,join_key,other\n"
        '900,0042,True,"a, ""b""",0.07,true,7,2023-05-01T12:00:00,loan_17,x\n'
        "\n"
        "100,1234,false,,1e-3,,,2023-05-01T14:00:00+02:00,loan_18,y\n",
        encoding="utf-8-sig",
    )
    assert gantry.log_file("loans", str(file), version=2) is None
    first, feedback, second = events
    assert first.inputs == {"input_amount": 900, "input_zip": "0042", "input_new": True, "input_note": 'a, "b"'}
    assert second.inputs == {"input_amount": 100, "input_zip": "1234", "input_new": False, "input_note": None}
    assert (first.outputs, second.outputs) == ({"output_default": 0.07}, {"output_default": 0.001})
    assert (feedback.feedback, feedback.join_key) == ({"feedback_repaid": True}, "loan_17")
    assert (first.tags, second.tags) == ({"env": "test", "tags_team": "7"}, {"env": "test"})
    assert {event.at for event in events} == {NOON}
    assert (first.version, first.join_key, second.join_key) == ("2", "loan_17", "loan_18")


def test_a_file_with_named_columns(tmp_path: Path, events: list[Event]) -> None:
    """Columns may be named, and separated by something else."""
    file = write(tmp_path / "f.csv", "id; amount ;p;when;shop\n17;900;0.5;2023-05-01;s\n")
    gantry.log_file(
        "loans", file, inputs=["amount"], outputs=["p"], tags=["shop"], timestamp="when", join_key="id", sep=";"
    )
    (event,) = events
    assert (event.inputs, event.outputs, event.join_key) == ({"amount": 900}, {"p": 0.5}, "17")
    assert (event.at, event.tags) == (datetime(2023, 5, 1, tzinfo=UTC), {"env": "test", "shop": "s"})


def test_a_file_with_deprecated_keys(tmp_path: Path, events: list[Event]) -> None:
    """A column feedback_id is a key and no feedback; feedback_keys make the key that log_record makes."""
    file = write(tmp_path / "f.csv", "feedback_id,feedback_ok\nabc,1\n")
    gantry.log_file("loans", file)
    file = write(tmp_path / "p.csv", "input_a,input_b,output_p\n1,x,1\n")
    with pytest.warns(DeprecationWarning, match="feedback_keys"):
        gantry.log_file("loans", file, feedback_keys=["input_b", "input_a"])
    assert [(event.kind, event.join_key) for event in events] == [
        ("feedback", "abc"),
        ("prediction", gantry.compute_feedback_id({"input_a": 1, "input_b": "x"})),
    ]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2.5", "1e5"], [1, -2.5, 1e5]),
        (["1", "", "2"], [1, None, 2]),
        (["1", "007"], ["1", "007"]),
        (
            ["0.012345678901234568", "1e-100", "-0.0", "0.50000000000000000000"],
            [0.012345678901234568, 1e-100, 0.0, 0.5],
        ),
        ([" 0.5", "7 ", "-3", " -4"], [0.5, 7, -3, -4]),
        ([" a ", "b", " ", "-"], [" a ", "b", None, None]),
        (["1", "0.1234567890123456789"], ["1", "0.1234567890123456789"]),
        (["1", "1e-400"], ["1", "1e-400"]),
        (["1", "+5"], ["1", "+5"]),
        (["1", ".5"], ["1", ".5"]),
        (["9007199254740992", "9007199254740993"], ["9007199254740992", "9007199254740993"]),
        ([" true", "nan", "False "], [True, None, False]),
        (["1", "true"], ["1", "true"]),
        (["", "NaN"], [None, None]),
        (["1", " nan", "NULL", "n/a", "\\N"], [1, None, None, None, None]),
        (["123456789012345678", "1234567890123456789"], ["123456789012345678", "1234567890123456789"]),
        (["1e400", "1"], ["1e400", "1"]),
        (["TRUE", "false"], [True, False]),
        (["true", "1"], ["true", "1"]),
    ],
)
def test_the_types_of_a_column(tmp_path: Path, events: list[Event], cells: list[str], values: list[Any]) -> None:
    """A column is of one type, and text where a number would lose something."""
    file = write(tmp_path / "f.csv", "input,output\n" + "".join(f"{cell},1\n" for cell in cells))
    gantry.log_file("loans", file)
    assert [event.inputs["input"] for event in events] == values


ODD = [
    ("007", "a number that is not written as in JSON"),
    ("+5", "a number that is not written as in JSON"),
    ("1,900", "a number that is not written as in JSON"),
    ("7%", "a number that is not written as in JSON"),
    ("$900", "a number that is not written as in JSON"),
    ("0.12345678901234567890", "a number whose digits no float keeps"),
    ("1e999", "a number whose digits no float keeps"),
    ("inf", "text"),
    ("private", "text"),
    ("TRUE", "true or false among numbers"),
]


@pytest.mark.parametrize(("cell", "why"), ODD)
def test_one_odd_cell(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, lenient: joinback.Client, cell: str, why: str
) -> None:
    """A load ends with one line of the log; it warns if one cell makes a column text, naming its line, not the cell."""
    file = write(
        tmp_path / "loans.csv",
        f"join_key;input;input_new;input_note;output;feedback\nk0;x\nk1;1;true;a;0.5;\nk2;{cell};;;1;\n;;;;;1\n",
    )
    gantry.log_file("loans", file, sep=";")
    (line,) = [record for record in caplog.records if "lines" in record.message]
    assert line.levelname == "WARNING"
    assert line.message == (
        "joinback: loans.csv: 4 lines, 1 refused"
        f"; text: input (line 4: {why}), input_note (line 3: text); booleans: input_new"
        "; numbers: output, feedback; keys: join_key"
    )
    assert dropped(lenient) == {"invalid": 1}


def test_a_load_without_oddities(caplog: pytest.LogCaptureFixture, tmp_path: Path, lenient: joinback.Client) -> None:
    """Where nothing is odd the line is no warning; lines whose labels are missing are counted, and log nothing."""
    file = write(tmp_path / "f.csv", "join_key,feedback_y,feedback_z\nk1,1,a\nk2,NULL,n/a\n,,\nk4,,b\n")
    gantry.log_file("loans", file)
    (line,) = [record for record in caplog.records if "lines" in record.message]
    assert (line.levelname, line.message) == (
        "INFO",
        "joinback: f.csv: 4 lines, 0 refused, 2 without a label; numbers: feedback_y; text: feedback_z (line 2: text)"
        "; keys: join_key",
    )
    assert (lenient.stats()["buffered"], dropped(lenient)) == (2, {})


def test_missing_words_are_no_labels(tmp_path: Path, events: list[Event]) -> None:
    """What exports write for a missing value is no label, no key, no time and no tag."""
    words = ["", " ", "-", "NULL", "null", "None", "nan", "-NaN", "NA", "N/A", "#N/A", "<NA>", "NaT", r"\N"]
    lines = "".join(f"{word},{word},{word},{word},1\n" for word in words)
    gantry.log_file("loans", write(tmp_path / "f.csv", "feedback_y,timestamp,tags_t,input_x,output\n" + lines))
    assert [(event.kind, event.inputs, event.tags) for event in events] == [
        ("prediction", {"input_x": None}, {"env": "test"})
    ] * len(words)
    assert all(event.at == event.logged_at for event in events)


@pytest.mark.parametrize(
    ("cells", "keys"),
    [
        (["k1 ", " k2"], ["k1", "k2"]),
        (["1001.0", "1002.00", "NULL"], ["1001", "1002"]),
        (["1001.0", "1002"], ["1001.0", "1002"]),
        (["0042", "0.10"], ["0042", "0.10"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["1E5", "2e10"], ["1E5", "2e10"]),
    ],
)
def test_the_keys_of_a_file(tmp_path: Path, events: list[Event], cells: list[str], keys: list[str]) -> None:
    """Keys are trimmed text; only where all of them are whole floats, as a gap makes of ids, are they integers."""
    lines = "".join(f"{cell},{n}\n" for n, cell in enumerate(cells))
    gantry.log_file("loans", write(tmp_path / "f.csv", "join_key,input\n" + lines), outputs=["input"])
    assert [event.join_key for event in events][: len(keys)] == keys


def test_a_key_that_lost_its_digits(caplog: pytest.LogCaptureFixture, tmp_path: Path, lenient: joinback.Client) -> None:
    """A key that a spreadsheet wrote as 4.51235E+15 is refused: it is the key of another prediction, or of none."""
    gantry.log_file("loans", write(tmp_path / "f.csv", "join_key,feedback\n4.51235E+15,1\nk,1\n"))
    assert (dropped(lenient), lenient.stats()["buffered"]) == ({"invalid": 1}, 1)
    assert "f.csv, line 2: a join key that has lost digits" in caplog.text


def test_a_key_that_is_an_input_too(tmp_path: Path, events: list[Event]) -> None:
    """A column may be key and input: text as the one, a number as the other."""
    gantry.log_file("loans", write(tmp_path / "f.csv", "input_id,output\n17,1\n"), join_key="input_id")
    assert [(event.join_key, event.inputs) for event in events] == [("17", {"input_id": 17})]


@pytest.mark.parametrize("cell", ["1612120112345", "1700000000", "45231", "11/23/2026 10:00", "1612120112345678"])
def test_times_that_are_none(tmp_path: Path, lenient: joinback.Client, cell: str) -> None:
    """Seconds and milliseconds since 1970, and days since 1900, are refused, never read as a day of 1612."""
    gantry.log_file("loans", write(tmp_path / "f.csv", f"timestamp,input,output\n{cell},1,1\n"))
    assert dropped(lenient) == {"invalid": 1}


def test_a_file_twice(stack: Stack, tmp_path: Path) -> None:
    """A file that is logged again, where it was interrupted, changes no row: its lines are duplicates."""
    lines = "".join(f"{n},1,k{n}\n" for n in range(10))
    file = write(tmp_path / "f.csv", "input_n,output,join_key\n" + lines)
    joinback.init(stack.settings.redis_url)
    gantry.init()
    for _ in range(2):
        gantry.log_file("loans", file)
    assert joinback.flush(PATIENCE_S)
    joinback.close()
    stack.drain()
    assert len(stack.rows("conflicts IS NULL")) == len(stack.rows()) == 10
    assert stack.books().duplicates == 10


def test_wrong_lines(caplog: pytest.LogCaptureFixture, tmp_path: Path, lenient: joinback.Client) -> None:
    """A line with too many cells, a time that is none or feedback without a key is a drop; its number is logged."""
    file = write(tmp_path / "f.csv", "input,output,timestamp\n1,1,\n1,1,,1\n1,1,noon\n2,2,\n")
    gantry.log_file("loans", file)
    assert "f.csv, line 3: 4 cells, but the header has 3" in caplog.text
    assert dropped(lenient) == {"invalid": 2}
    assert lenient.stats()["buffered"] == 2
    gantry.log_file("loans", write(tmp_path / "g.csv", "feedback\n1\n"))
    assert dropped(lenient) == {"invalid": 3}


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        ("a,b\n1,2\n", {}, "no column of inputs, outputs or feedback among a, b"),
        ("", {}, "no column of inputs"),
        ("input,output\n1,2\n", {"inputs": ["input", "x"], "join_key": "id"}, "no column id, x; it has input, output"),
        ("input,input,output\n1,2,3\n", {}, "several columns of one name"),
        ("input,output\n" + "x" * 200_000 + ",1\n", {}, "cannot be read: field larger"),
        (None, {}, "cannot be read: .*No such file"),
        (b"input,output\n\xff,1\n", {}, "cannot be read: .*utf-8"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: Any, arguments: dict[str, Any], told: str) -> None:
    """A file without the columns, or none at all, is one drop and a line of the log that names it."""
    file = tmp_path / "f.csv"
    if isinstance(text, bytes):
        file.write_bytes(text)
    elif text is not None:
        file.write_text(text)
    with capture() as events:
        gantry.init()
        with pytest.raises(joinback.InvalidEvent, match=told):
            gantry.log_file("loans", file, **arguments)
    assert events == []
    assert gantry.log_file("loans", file, **arguments) is None


# --- end to end ----------------------------------------------------------------------------------------------------

OLD_SCRIPT = """
import gantry

gantry.init(api_key="secret", environment="prod")
key = gantry.JoinKey.from_dict({"loan": 17})
gantry.log_record(
    application="loans",
    version="1.0",
    inputs={"amount": 900},
    outputs={"default": 0.07},
    tags={"team": "risk"},
    join_key=key,
)
gantry.log_record(application="loans", feedback={"repaid": True}, join_key=key)
batch_id, keys = gantry.log_records(
    application="loans",
    inputs=[{"amount": 1}, {"amount": 2}],
    outputs=[{"default": 0.1}, {"default": 0.2}],
    join_keys=["a", "b"],
)
assert (batch_id, keys) == (None, ["a", "b"])
assert gantry.ping() and gantry.ready()
"""


def run(stack: Stack, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = process_environment(stack.settings, **variables)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_an_old_script(stack: Stack) -> None:
    """A script of Gantry's days with another import exits cleanly, and its records are rows."""
    done = run(stack, OLD_SCRIPT.replace("import gantry", "import joinback.gantry as gantry"))
    assert done.returncode == 0, done.stderr
    stack.drain()
    row = stack.row(joinback.JoinKey.from_dict({"loan": 17}))
    assert (row["status"], row["version"], row["environment"]) == ("joined", "1.0", "prod")
    assert json.loads(row["inputs"]) == {"amount": 900}
    assert json.loads(row["feedback"]) == {"repaid": True}
    assert json.loads(row["tags"]) == {"team": "risk", "env": "prod"}
    assert [r["status"] for r in stack.rows("join_key IN ('a', 'b')")] == ["predicted", "predicted"]


def test_in_the_foreground(stack: Stack) -> None:
    """With GANTRY_SEND_IN_BACKGROUND=false Redis has the event when the call returns, though the process dies then."""
    script = "import joinback.gantry as gantry, os\ngantry.init()\n"
    script += "gantry.log_record('loans', inputs={'a': 1}, outputs={'b': 1}, join_key='k')\nos._exit(7)"
    assert run(stack, script, GANTRY_SEND_IN_BACKGROUND="false").returncode == 7
    assert stack.drain().rows == 1
    assert stack.row("k")["environment"] == "dev"


def test_the_foreground_is_bounded(monkeypatch: pytest.MonkeyPatch, lenient: joinback.Client) -> None:
    """In the foreground each call waits for Redis, five seconds at most, and then goes on."""
    waits: list[float] = []
    monkeypatch.setattr(lenient, "flush", lambda timeout_s: waits.append(timeout_s) or False)
    gantry.init(send_in_background=False)
    assert gantry.log_record("loans", inputs={"a": 1}, outputs=1, join_key="k") == "k"
    assert gantry.log_record("loans", inputs={"a": 1}) is None
    assert waits == [5.0, 5.0]


def test_ping_without_redis(lenient: joinback.Client) -> None:
    """Without Redis, ping and ready are False, and do not raise."""
    assert (gantry.ping(), gantry.ready()) == (False, False)


def test_from_many_threads(events: list[Event]) -> None:
    """Calls of several threads, with rates of their own, keep each its rate."""

    def work(rate: float) -> None:
        for n in range(200):
            gantry.log_record("loans", inputs={"rate": rate}, outputs=n, join_key=f"{rate}_{n}", sample_rate=rate)

    threads = [threading.Thread(target=work, args=(rate,)) for rate in (0.25, 0.5, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((event.sample_rate or 1.0) == event.inputs["rate"] for event in events)
    for rate in (0.25, 0.5, 1.0):
        expected = {f"{rate}_{n}" for n in range(200) if keeps("loans", f"{rate}_{n}", rate)}
        assert {event.join_key for event in events if event.inputs["rate"] == rate} == expected
