"""A small history of loans, the same each time: what the queries of docs/how-to/query.md are asked of."""

import math
from datetime import UTC, datetime, timedelta

from msgspec import Raw

from joinback import wire
from joinback_worker.law.record import Record

START = datetime(2026, 11, 20, 9, tzinfo=UTC)


def loans() -> list[Record]:
    """Six hundred predictions in three days by two versions; two of three have a label, hours to days later."""
    return [_loan(n) for n in range(600)]


def _loan(n: int) -> Record:
    served_at = START + timedelta(days=n % 3, seconds=n)
    version = "1.0" if n % 2 else "1.1"
    risk = abs(math.sin(n))
    prediction = wire.Prediction(
        v=1,
        at=served_at,
        logged_at=served_at,
        version=version,
        inputs=Raw(b'{"amount":%d}' % (100 * (n % 50))),
        outputs=Raw(b'{"default":%.3f}' % risk),
    )
    # Version 1.1 is nearly always right, 1.0 two times of three.
    is_right = n * 7919 % 100 >= (10 if version == "1.1" else 25)
    repaid = (risk < 0.5) == is_right
    told_at = served_at + timedelta(hours=6 + n * 17 % 48)
    feedback = wire.Feedback(
        v=1, at=told_at, logged_at=told_at, feedback={"repaid": Raw(b"true" if repaid else b"false")}
    )
    return Record(
        application="loans",
        join_key=f"loan_{n}",
        predictions={f"served_{n}": prediction},
        feedback={f"booked_{n}": feedback} if n * 31 % 100 < 66 else {},
    )
