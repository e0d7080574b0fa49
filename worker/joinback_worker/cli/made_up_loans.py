"""Made-up loans, the truth beside them: neither the model nor the delays ever change, but bad news comes later.

A tenth is never told. Half of the loans that are repaid are told within some days; who does not repay is known only
weeks later. The same seed gives the same loans. The demo plays them, and tests hold our figures against them.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

DAYS = 60
MEAN_DELAY_D = {True: 4.0, False: 18.0}
"""By whether the loan is repaid."""
NEVER_TOLD = 0.1


class Loan(NamedTuple):
    """One prediction and what becomes of it, told by now or not."""

    key: str
    served_at: datetime
    version: str
    risk: float
    """The model's, of not being repaid."""
    repaid: bool
    told_at: datetime | None

    @property
    def is_right(self) -> bool:
        return (self.risk < 0.5) == self.repaid


def made_up_loans(count: int, now: datetime, seed: int = 0, days: int = DAYS) -> Iterator[Loan]:
    """Yield loans of the last days, by time."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    start = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    for n in range(count):
        served_at = start + (now - start) * (n / count)
        served_at = served_at.replace(microsecond=n % 1_000_000)
        # Never a round one, which a bucket may count above or below.
        risk = round(int(chance.betavariate(0.7, 1.6) * 9_999) / 10_000 + 0.00005, 5)
        repaid = chance.random() >= risk * 0.9 + 0.02
        delay = timedelta(days=chance.expovariate(1 / MEAN_DELAY_D[repaid]))
        told_at = None if chance.random() < NEVER_TOLD else served_at + delay
        yield Loan(f"loan_{n}", served_at, "1.0" if n % 2 else "1.1", risk, repaid, told_at)
