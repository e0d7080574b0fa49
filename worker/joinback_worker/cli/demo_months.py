"""Two months of made-up loans for the demo: the plain accuracy looks too good on them, and the demo knows the truth.

Predictions and labels are logged with the times at which they came. Labels that come only later are not logged. So the
page shows what it would show in production. Only the demo knows what all labels will say.
"""

from collections import defaultdict
from datetime import UTC, datetime
from statistics import fmean

import joinback

from .made_up_loans import Loan, made_up_loans

APPLICATION = "made-up-loans"
COUNT = 12_000
"""200 per day: enough that the difference is larger than chance, and few enough for some seconds of work."""
AGE_D = 14
"""The age at which accuracy is compared: most labels have come by then."""
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
    """Log what is known of these loans by now: all predictions, and the labels that have come."""
    client.log_records(
        APPLICATION,
        inputs=[{"term_months": 12}] * len(loans),
        outputs=[{"default": loan.risk} for loan in loans],
        join_keys=[loan.key for loan in loans],
        timestamps=[loan.served_at for loan in loans],
        versions=[loan.version for loan in loans],
    )
    now = datetime.now(UTC)
    labelled = [(loan, loan.label_at) for loan in loans if loan.label_at is not None and loan.label_at <= now]
    client.log_records(
        APPLICATION,
        feedback=[{"repaid": loan.repaid} for loan, _ in labelled],
        join_keys=[loan.key for loan, _ in labelled],
        timestamps=[label_at for _, label_at in labelled],
    )


def truth_of(loans: list[Loan]) -> dict[str, float]:
    """Return, by day, the accuracy that all labels will show in the end."""
    days: dict[str, list[bool]] = defaultdict(list)
    for loan in loans:
        days[loan.served_at.date().isoformat()].append(loan.is_right)
    return {day: fmean(right) for day, right in days.items()}
