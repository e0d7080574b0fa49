"""The made-up loans of the demo, as records: what was logged of each until a moment."""

from datetime import datetime

from msgspec import Raw

from joinback import wire
from joinback_worker.cli.made_up_loans import Loan
from joinback_worker.law.record import Record


def record_of(loan: Loan, now: datetime, application: str = "loans") -> Record:
    """Return what was logged of a loan until now."""
    prediction = wire.Prediction(
        v=1,
        at=loan.served_at,
        logged_at=loan.served_at,
        version=loan.version,
        inputs=Raw(b"{}"),
        outputs=Raw(b'{"default":%.5f}' % loan.risk),
    )
    told = loan.label_at is not None and loan.label_at <= now
    value = Raw(b"true" if loan.repaid else b"false")
    feedback = (
        {"f": wire.Feedback(v=1, at=loan.label_at, logged_at=loan.label_at, feedback={"repaid": value})} if told else {}
    )
    return Record(application=application, join_key=loan.key, predictions={"p": prediction}, feedback=feedback)
