"""Made-up loans with a known truth: neither the model nor the delays ever change, but bad news comes later.

A tenth of the loans never gets a label. Most loans that are repaid get theirs within some days. Most others get theirs
only weeks later. The same seed gives the same loans. The demo logs them, and tests compare our figures with them.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

DAYS = 60
MEAN_DELAY_D = {True: 4.0, False: 18.0}
"""By whether the loan is repaid."""
NEVER_LABELLED = 0.1


class Loan(NamedTuple):
    """One prediction, and what becomes of its loan."""

    key: str
    served_at: datetime
    version: str
    risk: float
    """The model's probability that the loan is not repaid."""
    repaid: bool
    label_at: datetime | None
    """When the label comes; None: never."""

    @property
    def is_right(self) -> bool:
        return (self.risk < 0.5) == self.repaid


def made_up_loans(count: int, now: datetime, seed: int = 0, days: int = DAYS) -> Iterator[Loan]:
    """Yield loans of the last days, ordered by time."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    start = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    for n in range(count):
        served_at = start + (now - start) * (n / count)
        served_at = served_at.replace(microsecond=n % 1_000_000)
        # Never a bound of a bucket: rounding might count it above or below.
        risk = round(int(chance.betavariate(0.7, 1.6) * 9_999) / 10_000 + 0.00005, 5)
        repaid = chance.random() >= risk * 0.9 + 0.02
        delay = timedelta(days=chance.expovariate(1 / MEAN_DELAY_D[repaid]))
        label_at = None if chance.random() < NEVER_LABELLED else served_at + delay
        yield Loan(f"loan_{n}", served_at, "1.0" if n % 2 else "1.1", risk, repaid, label_at)
