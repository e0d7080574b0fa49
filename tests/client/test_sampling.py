"""Sampling: by key, the same in every process, and without orphans."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback import wire
from joinback._delivery import announcer, delivery, rates
from joinback.sampling import keeps, verdict
from joinback.settings import Settings
from joinback.testing import capture


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_higher_rate_keeps_what_a_lower_one_keeps(application: str, key: str) -> None:
    """The samples of two rates are one inside the other; at 1 all is kept."""
    kept = [keeps(application, key, rate) for rate in (0.001, 0.1, 0.5, 0.999, 1.0)]
    assert kept == sorted(kept)
    assert kept[-1]


def test_the_hash_is_the_documented_one() -> None:
    """A producer in another language can compute it from the docstring."""
    for n in range(1_000):
        digest = hashlib.sha256(f"loans\0loan_{n}".encode()).hexdigest()
        assert keeps("loans", f"loan_{n}", 0.25) == (int(digest[:16], 16) / 2**64 < 0.25)


def test_the_share_is_the_rate() -> None:
    """Of keys that count up, as ids do, the kept share is the rate, also within one shard."""
    keys = [f"loan_{n}" for n in range(40_000)]
    for some in (keys, [key for key in keys if wire.tag_of("loans", key, 4) == "loans/1"]):
        assert sum(keeps("loans", key, 0.1) for key in some) / len(some) == pytest.approx(0.1, rel=0.1)


def test_a_service_told_no_rate_follows(settings: Settings, server: redis.Redis) -> None:
    """Rate 0.001, 200,000 predictions, their feedback from a service that was told no rate: not one orphan."""
    number, rate = 200_000, 0.001
    predicting = joinback.Client().init(settings.redis_url, sample_rates={"loans": rate})
    for n in range(number):
        predicting.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
    assert predicting.flush(PATIENCE_S)
    telling = joinback.Client().init(settings.redis_url)
    for n in range(number):
        telling.log_record("loans", feedback={"ok": True}, join_key=f"k{n}")
        if n % 50_000 == 0:
            assert telling.flush(PATIENCE_S)
    assert telling.flush(PATIENCE_S)
    expected = {f"k{n}" for n in range(number) if keeps("loans", f"k{n}", rate)}
    prefix = wire.record_key(wire.tag("loans"), "")
    records = {key.decode().removeprefix(prefix): server.hkeys(key) for key in server.scan_iter(f"{prefix}*")}
    assert records.keys() == expected
    assert all(len(fields) == 2 for fields in records.values())
    for client in (predicting, telling):
        stats = client.stats()
        assert stats["sent"] == len(expected)
        assert stats["dropped"]["sampled_out"] == number - len(expected)
        assert stats["logged"] == number
        client.close()


def test_the_rate_is_on_the_row(stack: Any) -> None:
    """A row says at which rate it was sampled, so that a sum can be weighted."""
    stack.client.set_sample_rate("loans", 0.5)
    for n in range(20):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
    stack.drain()
    assert {row["sample_rate"] for row in stack.rows()} == {0.5}
    assert {row["join_key"] for row in stack.rows()} == {f"k{n}" for n in range(20) if keeps("loans", f"k{n}", 0.5)}


def announced(server: redis.Redis) -> Any:
    return server.hget(wire.APPLICATIONS_KEY, "loans")


def test_the_highest_rate_stands(settings: Settings, server: redis.Redis) -> None:
    """Feedback follows the highest rate ever logged at, so none is dropped whose prediction was kept."""
    telling = joinback.Client().init(settings.redis_url)
    telling.log_record("loans", feedback={"ok": True}, join_key="early")
    assert telling.flush()
    assert announced(server) == b'{"shards":1,"sample_rate":null}'
    for rate, stands in ((0.01, 0.01), (0.2, 0.2), (0.1, 0.2)):
        client = joinback.Client().init(settings.redis_url, sample_rates={"loans": rate})
        for n in range(1_000):
            client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
        assert client.flush(PATIENCE_S)
        client.close()
        assert announced(server) == b'{"shards":1,"sample_rate":%s}' % str(stands).encode()
    later = joinback.Client().init(settings.redis_url)
    for n in range(1_000):
        later.log_record("loans", feedback={"ok": True}, join_key=f"k{n}")
    assert later.flush()
    assert later.stats()["sent"] == sum(keeps("loans", f"k{n}", 0.2) for n in range(1_000))
    for client in (telling, later):
        client.close()


@pytest.mark.parametrize(("first", "call_rate"), [({}, None), ({"loans": 0.9}, None), ({}, 0.9)])
def test_a_rate_that_is_lowered_before_it_is_announced(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch, first: Any, call_rate: float | None
) -> None:
    """Feedback on what was logged at a higher rate, its own, none or a call's, is kept, though the rate fell before the
    sender announced it. Once it stands in Redis, a person may lower it there, and it stays low.
    """
    monkeypatch.setattr(delivery, "LINGER_S", PATIENCE_S)  # nothing is sent until the flush
    monkeypatch.setattr(announcer, "RENEWAL_S", 0.0)
    rate = call_rate or first.get("loans", 1.0)
    client = joinback.Client().init(settings.redis_url, sample_rates=first)
    kept = [f"k{n}" for n in range(200) if keeps("loans", f"k{n}", rate)]
    for n in range(200):
        if call_rate is None:
            client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
        else:
            now = datetime.now(UTC)
            common = (now, now, None, None, None)
            client._funnel.log("loans", f"k{n}", f"e{n}", (n, 0, None), common, call_rate=call_rate)
    client.set_sample_rate("loans", 0.01)
    client.log_record("loans", feedback={"ok": True}, join_key=kept[0])
    assert client.flush(PATIENCE_S)
    for key in kept[1:]:
        client.log_record("loans", feedback={"ok": True}, join_key=key)
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 2 * len(kept)
    assert announced(server) == b'{"shards":1,"sample_rate":%s}' % str(rate).encode()
    server.hset(wire.APPLICATIONS_KEY, "loans", b'{"shards":1,"sample_rate":0.01}')
    key = next(key for key in kept if keeps("loans", key, 0.01))
    for n in range(3):
        client.log_record("loans", inputs=n, outputs=0, join_key=key)
        assert client.flush(PATIENCE_S)
    assert announced(server) == b'{"shards":1,"sample_rate":0.01}'
    client.close()


def test_a_rate_that_is_set_before_the_first_prediction(settings: Settings, server: redis.Redis) -> None:
    """What counts is at which rates predictions were logged: not feedback, and not that others logged before."""
    other = joinback.Client().init("redis://127.0.0.1:1/0")
    other.log_record("loans", inputs=1, outputs=0)
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", feedback={"ok": True}, join_key="k")
    client.set_sample_rate("loans", 0.5)
    client.set_sample_rate("loans", 0.01)
    for n in range(200):
        client.log_record("loans", inputs=n, outputs=0)
    assert client.flush(PATIENCE_S)
    assert announced(server) == b'{"shards":1,"sample_rate":0.01}'
    client.close()
    other.close(0)


def test_the_key_comes_back_though_sampled_out() -> None:
    """A caller sees no difference: the key is returned, and the drop is counted as wanted."""
    client = joinback.Client().init("redis://127.0.0.1:1/0", sample_rates={"loans": 1e-9})
    with capture(client) as events:
        assert client.log_record("loans", inputs=1, outputs=1, join_key="k") == "k"
        assert client.stats()["dropped"]["sampled_out"] == 1
    assert events == []


@pytest.mark.parametrize("rate", [0, -1, 1.1, "0.5", float("nan")])
def test_a_rate_that_is_none(rate: Any) -> None:
    """A rate outside of 0 to 1 is told when it is set."""
    with pytest.raises(joinback.ConfigurationError, match="sample rate of 'loans'"):
        joinback.Client().init("redis://127.0.0.1:1/0", sample_rates={"loans": rate})


def test_a_label_after_a_raised_rate(settings: Settings, server: redis.Redis) -> None:
    """A process that raises its rate keeps the labels of what it predicts from then on, at once."""
    client = joinback.Client().init(settings.redis_url, sample_rates={"loans": 1e-9})
    client.log_record("loans", inputs=1, outputs=1, join_key="before")
    client.log_record("loans", feedback={"ok": True}, join_key="before")
    assert client.flush(PATIENCE_S)
    client.set_sample_rate("loans", 1.0)
    for n in range(100):
        client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
        client.log_record("loans", feedback={"ok": True}, join_key=f"k{n}")
        client.retract("loans", f"k{n}")
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == 300
    client.close()


def test_a_key_with_capitals_is_sampled_as_it_is_spelt(settings: Settings, server: redis.Redis) -> None:
    """Feedback goes by the very key its prediction had: another spelling is another key, in another sample."""
    rate, keys = 0.3, [f"Loan-{n:03X}-É" for n in range(300)]
    assert any(keeps("Loans", key, rate) != keeps("Loans", key.lower(), rate) for key in keys)
    predicting = joinback.Client().init(settings.redis_url, sample_rates={"Loans": rate})
    telling = joinback.Client().init(settings.redis_url)
    # A kept one first, so that both know the published rate: in the funnel as well as in the sender.
    keys.sort(key=lambda key: not keeps("Loans", key, rate))
    predicting.log_record("Loans", inputs=1, outputs=0, join_key=keys[0])
    assert predicting.flush()
    telling.log_record("Loans", feedback={"ok": True}, join_key=keys[0])
    assert telling.flush()
    for key in keys[1:]:
        predicting.log_record("Loans", inputs=1, outputs=0, join_key=key)
        telling.log_record("Loans", feedback={"ok": True}, join_key=key)
        telling.retract("Loans", key)
    assert predicting.flush()
    assert telling.flush()
    kept = {key for key in keys if keeps("Loans", key, rate)}
    prefix = wire.record_key(wire.tag("Loans"), "")
    records = {key.decode().removeprefix(prefix): server.hkeys(key) for key in server.scan_iter(f"{prefix}*")}
    assert records.keys() == kept
    for key, fields in records.items():
        kinds = sorted(field.partition(b":")[0] for field in fields)
        assert kinds == [b"feedback", b"prediction"] + [b"retraction"] * (key != keys[0])
    for client in (predicting, telling):
        client.close()


def test_a_rate_below_the_published_one_is_told_once(
    settings: Settings, server: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that logs less than feedback is kept for says so, once per application; no other client does."""
    monkeypatch.setattr(rates, "_warned", set())

    def log(**options: Any) -> str:
        caplog.clear()
        client = joinback.Client().init(settings.redis_url, **options)
        for n in range(10):
            client.log_record("loans", inputs=n, outputs=0)
            client.log_record("loans", feedback={"ok": n}, join_key="k")
            assert client.flush(PATIENCE_S)
        client.close()
        return caplog.text

    assert log(sample_rates={"loans": 0.5}) == ""
    assert log() == ""
    text = log(sample_rates={"loans": 0.01})
    assert text.count("0.01 of the predictions of 'loans' are logged here, but feedback is kept for 1") == 1
    assert "joinback sample-rate loans 0.01" in text
    assert log(sample_rates={"loans": 0.02}) == ""
    caplog.clear()
    telling = joinback.Client().init(settings.redis_url, sample_rates={"other": 0.5})
    telling.log_record("loans", feedback={"ok": True}, join_key="k")
    assert telling.flush()
    assert caplog.text == ""
    telling.close()


def test_the_verdict_on_a_key() -> None:
    """What `joinback explain` says of a key that Redis does not hold."""
    rates = [0.3, 0.9, 1.0]
    for n in range(50):
        for rate in rates:
            is_kept = verdict("loans", f"k{n}", rate).startswith("in the sample")
            assert is_kept == keeps("loans", f"k{n}", rate) != verdict("loans", f"k{n}", rate).startswith("sampled out")
    assert verdict("loans", "k", None).startswith("no prediction was announced")


def test_rates_beside_one_another() -> None:
    """In `capture` a rate that is set is the client's own; in `local` it ends with the block; neither knows what Redis
    published, and in both the rate of a call is still no upper bound.
    """
    own = rates.Rates({"loans": 0.5})
    own.of_call("ads", 0.1, predicts=True)
    own.publish("ads", 0.9)
    shared, copied = own.shared(), own.copy()
    assert (own.of_feedback("ads"), shared.of_feedback("ads"), copied.of_feedback("ads")) == (0.9, 1.0, 1.0)
    copied.configure({"loans": 0.2})
    assert copied.of_call("ads", 0.3, predicts=True) == 0.3
    assert own.configured == {"loans": 0.5, "ads": 0.1}
    shared.configure({"loans": 0.4})
    assert shared.of_call("ads", 0.2, predicts=True) == 0.2
    assert own.configured == {"loans": 0.4, "ads": 0.2}
    assert own.of_call("ads", 0.7, predicts=True) == 0.7
