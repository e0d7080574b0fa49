"""Never run, only type-checked, by mypy and by pyright: what a service's own checker must accept."""

import dataclasses
from datetime import UTC, datetime
from typing import Any, assert_type
from uuid import UUID

import numpy as np

import joinback
import joinback.gantry as gantry
from joinback.redaction import Drop, Hash, Replace, Truncate
from joinback.testing import Event, capture


@dataclasses.dataclass
class Features:
    amount: int


def before_send(event: dict[str, Any]) -> dict[str, Any] | None:
    return event if event["application"] != "internal" else None


client = joinback.init(
    "redis://localhost:6379/0",
    environment="production",
    sample_rates={"ads": 0.01},
    redact=[
        "inputs.ssn",
        Drop("tags.user"),
        Hash("inputs.email", key="k"),
        Truncate("inputs", 9),
        Replace("inputs", "a", "b"),
    ],
    before_send=before_send,
    spool_dir="/var/lib/joinback",
)
assert_type(client, joinback.Client)
assert_type(joinback.log_record("loans", inputs=Features(900), outputs=0.07, version=1.0, tags={"a": 1}), str)
joinback.log_record("loans", feedback={"repaid": None}, join_key=UUID(int=1), timestamp=datetime.now(UTC), event_id="e")
assert_type(joinback.log_records("loans", inputs=[1, 2], outputs=[3, 4], join_keys=["a", 7]), list[str])
assert_type(joinback.log_records("loans", inputs=np.zeros((2, 3)), outputs=np.zeros(2)), list[str])
joinback.log_records(
    "loans", inputs=[1], outputs=[2], versions=["1"], event_ids=np.arange(1), tags=[{"a": 1}], timestamps=["2026-01-02"]
)
joinback.log_records("loans", feedback=[{"repaid": True}], join_keys=[np.int64(7)], tags={"a": 1}, wait_s=0)
joinback.retract("loans", joinback.JoinKey.from_dict({"id": 7}), fields=["repaid"])
joinback.set_sample_rate("loans", 0.5)
assert_type(joinback.flush(2.0), bool)
assert_type(joinback.ping(), bool)
stats: dict[str, Any] = joinback.stats()


@joinback.instrument("loans", join_key="loan_id", version="1.0")
def predict(loan_id: str, *, amount: int) -> float:
    return amount / 1_000


@joinback.instrument("loans", join_key=lambda arguments, result: result["id"])
async def predict_later(amount: int) -> dict[str, int]:
    await joinback.aflush()
    return {"id": amount}


assert_type(predict("a", amount=1), float)
assert_type(joinback.read(None, "loans", since="2026-11-01", status="joined", as_="polars"), Any)


async def use() -> None:
    assert_type(await predict_later(1), dict[str, int])
    assert_type(await joinback.aflush(timeout_s=1), bool)


def test_predict() -> None:
    with capture() as events:
        predict("a", amount=1)
    assert_type(events, list[Event])
    assert_type(events[0].inputs, Any)


gantry.init(api_key="k", logging_level="INFO", environment="production", send_in_background=False)
assert_type(gantry.log_record("loans", "1.0", {"amount": 900}, {"default": 0.07}, join_key="a"), str | None)
gantry.log_record("loans", feedback={"repaid": True}, feedback_id={"id": 7}, sample_rate=0.1)
batch_id, keys = gantry.log_records(
    "loans", inputs=[{"a": 1}], outputs=np.array([1]), row_tags=[{"t": "1"}], as_batch=True
)
assert_type((batch_id, keys), tuple[str | None, list[str]])
gantry.log("loans", inputs={"a": 1}, outputs=0.5)
assert_type(gantry.ping(), bool)
assert_type(gantry.compute_feedback_id({"a": 1}, ["a"]), str)
if (gantry_client := gantry.get_client()) is not None:
    assert_type(gantry_client.log_record("loans", feedback={"a": 1}, join_key="a"), str | None)
try:
    gantry.log_file("loans", "loans.csv", inputs=["amount"])
except gantry.ClientNotInitialized:
    gantry.setup_logger("DEBUG")
