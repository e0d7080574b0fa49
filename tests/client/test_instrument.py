"""The decorator for predict functions, and the capture for users' own tests."""

import asyncio
import sys
import threading
from typing import Any

import pytest

import joinback
from joinback.testing import capture

NOWHERE = "redis://127.0.0.1:1/0"


def test_a_predict_function() -> None:
    """Arguments become inputs under their names, defaults included; the result is the outputs, and is returned."""

    @joinback.instrument("loans", join_key="loan_id", version="1.0", tags={"t": 1}, ignore=["trace"])
    def predict(loan_id: str, amount: int, *, months: int = 12, trace: object = None) -> dict[str, float]:
        """Predicts."""
        return {"default": amount / 1000}

    with capture() as events:
        assert predict("loan_17", 900, trace=object()) == {"default": 0.9}
    (event,) = events
    assert (event.application, event.join_key, event.version, event.tags) == ("loans", "loan_17", "1.0", {"t": 1})
    assert (event.inputs, event.outputs) == ({"amount": 900, "months": 12}, {"default": 0.9})
    assert (predict.__name__, predict.__doc__) == ("predict", "Predicts.")


def test_an_async_method_with_a_key_of_the_result() -> None:
    """Coroutines are awaited, self is no feature, and the key may come from what was returned."""

    class Model:
        @joinback.instrument("loans", join_key=lambda arguments, result: result["id"])
        async def predict(self, amount: int) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"id": f"loan_{amount}"}

    with capture() as events:
        asyncio.run(Model().predict(9))
    assert [(event.join_key, event.inputs) for event in events] == [("loan_9", {"amount": 9})]


def test_a_function_that_raises_is_not_logged() -> None:
    """What the function raises is raised, and no prediction is claimed."""

    @joinback.instrument("loans", join_key="key")
    def predict(key: str) -> None:
        raise ValueError("no model")

    with capture() as events, pytest.raises(ValueError, match="no model"):
        predict("k")
    assert events == []


def test_a_key_that_cannot_be_had_is_a_counted_drop() -> None:
    """The caller gets the result all the same."""
    client = joinback.Client().init(NOWHERE)

    @joinback.instrument("loans", join_key=lambda arguments, result: result["id"], client=client)
    def predict(amount: int) -> dict[str, int]:
        return {"amount": amount}

    assert predict(1) == {"amount": 1}
    assert client.stats()["dropped"]["invalid"] == 1


def test_a_wrong_name_is_told_when_decorating() -> None:
    """A typo in join_key does not wait for the first request."""
    with pytest.raises(joinback.ConfigurationError, match=r"has no argument 'loan'; its arguments: loan_id"):

        @joinback.instrument("loans", join_key="loan")
        def predict(loan_id: str) -> int:
            return 1


def test_a_stream_is_refused_when_decorating() -> None:
    """A generator, sync or async, is told at import with the fix, and not dropped at each call."""
    with pytest.raises(joinback.ConfigurationError, match=r"stream yields its result.* collect what it yields"):

        @joinback.instrument("chat", join_key="key")
        def stream(key: str) -> Any:
            yield key

    with pytest.raises(joinback.ConfigurationError, match="yields its result"):

        @joinback.instrument("chat", join_key="key")
        async def stream_async(key: str) -> Any:
            yield key


class RudeError(Exception):
    """Has nothing to say."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_key_function_that_raises_what_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    """Even an error that cannot be printed is a counted drop, and the caller gets the result."""
    client = joinback.Client().init(NOWHERE)

    def key(arguments: dict[str, Any], result: Any) -> str:
        raise RudeError

    @joinback.instrument("loans", join_key=key, client=client)
    def predict(amount: int) -> int:
        return amount

    assert predict(1) == 1
    assert client.stats()["dropped"]["invalid"] == 1
    assert "RudeError" in caplog.text


def test_capture_is_strict_and_leaves_no_trace() -> None:
    """Inside, a wrong call raises and nothing is sent; outside, the client is as it was."""
    client = joinback.Client().init(NOWHERE)
    with capture(client) as events:
        client.log_record("loans", inputs=1, outputs=2, join_key="a", event_id="e")
        client.log_record("loans", feedback={"ok": None}, join_key="a")
        client.retract("loans", "a", fields=["ok"])
        assert client.flush(0)
        with pytest.raises(joinback.InvalidEvent):
            client.log_record("loans", inputs=1)
        assert client.stats()["sent"] == 3
    assert [event.kind for event in events] == ["prediction", "feedback", "retraction"]
    assert (events[0].event_id, events[1].feedback, events[2].fields) == ("e", {"ok": None}, ["ok"])
    assert events[0].at == events[0].logged_at
    client.log_record("loans", inputs=1)
    assert client.stats()["logged"] == 1
    assert len(events) == 3


def test_capture_from_several_threads() -> None:
    """What several threads log at once is captured whole, whenever Python changes threads."""
    client = joinback.Client()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with joinback.testing.capture(client) as events:

            def log(thread: int) -> None:
                for n in range(300):
                    client.log_record("loans", inputs=n, outputs=1, join_key=f"{thread}-{n}")

            threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len({event.join_key for event in events}) == 1_200
