"""The status of plain records, held against the whole law."""

from datetime import timedelta
from typing import Any

from events import NOON, RULES, plain_records, records
from hypothesis import given
from hypothesis import strategies as st
from ruled import policy

from joinback_worker.law.plain import PlainStatus
from joinback_worker.law.record import Record
from joinback_worker.law.verdict import judge


@given(records | plain_records, st.sampled_from(RULES), st.none() | st.integers(-2_000, 2_000))
def test_the_status_is_the_laws(record: Record, rules: dict[str, Any], now_s: int | None) -> None:
    """A plain record has the status that the whole law gives; of any other, and of what is late, nothing is said."""
    now = policy(None if now_s is None else NOON + timedelta(seconds=now_s), **rules)
    verdict = judge(record, now)
    is_plain = len(record.predictions) < 2 and not record.retractions
    assert PlainStatus(now).of(record) == (verdict.status if is_plain and not verdict.late else None)
