"""Two months of made-up loans, played to the demo's worker: where the plain figure flatters, with the truth beside it.

Predictions are logged as they were made, and labels as they came, by their own times; what is told only later is not
told. So the page shows what it would have shown, and the demo alone knows what all labels will say.
"""

from collections import defaultdict
from datetime import UTC, datetime
from statistics import fmean

import joinback

from .made_up_loans import Loan, made_up_loans

APPLICATION = "made-up-loans"
COUNT = 12_000
"""200 per day: enough that the flattery is larger than chance, and some seconds of work."""
AGE_D = 14
"""The one age: when most labels have come."""
ADDRESS = (("application", APPLICATION), ("age", str(AGE_D)))
RULES = f"""
[applications.{APPLICATION}.feedback.repaid]
type = "bool"
output = "default"
threshold = 0.5
positive = false  # `default` is the probability of not being repaid
"""


def months() -> list[Loan]:
    """Return the loans of the last two months."""
    return list(made_up_loans(COUNT, datetime.now(UTC)))


def log_months(client: joinback.Client, loans: list[Loan]) -> None:
    """Log what is known of these loans by now."""
    client.log_records(
        APPLICATION,
        inputs=[{"term_months": 12}] * len(loans),
        outputs=[{"default": loan.risk} for loan in loans],
        join_keys=[loan.key for loan in loans],
        timestamps=[loan.served_at for loan in loans],
        versions=[loan.version for loan in loans],
    )
    now = datetime.now(UTC)
    told = [(loan, loan.told_at) for loan in loans if loan.told_at is not None and loan.told_at <= now]
    client.log_records(
        APPLICATION,
        feedback=[{"repaid": loan.repaid} for loan, _ in told],
        join_keys=[loan.key for loan, _ in told],
        timestamps=[told_at for _, told_at in told],
    )


def truth_of(loans: list[Loan]) -> dict[str, float]:
    """Return by day the accuracy that all labels will say."""
    days: dict[str, list[bool]] = defaultdict(list)
    for loan in loans:
        days[loan.served_at.date().isoformat()].append(loan.is_right)
    return {day: fmean(right) for day, right in days.items()}
