"""The alarm of the label triangle: fewer predictions have a label by some age than in each of the weeks before. Pure.

It moves day by day: its newest week is the last seven days that have the age, and so has each weekday once. It is
raised at the smallest such age, which is the earliest sign. A change of a share is judged by Newcombe's interval, as
versions are.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from . import accuracy
from .accuracy import day_text
from .compare import newcombe
from .curve import duration
from .dialect import DAY_US
from .questions import AT_RISK_MIN

WEEK = 7
WEEKS_BEFORE = 4
"""Weeks to compare with: a month. Older ones may have had other delays for good reasons."""
WEEKS_MIN = 2
"""With fewer, it is not known how much weeks differ by themselves."""
FALL_MIN = 0.1
"""A share that falls by less than a tenth needs no alarm, however sure the fall is."""
NORMAL = 3.290526731491926
"""The normal quantile of a 99.9 % interval. Six ages are looked at each day: 95 % would raise an alarm each week."""


class Slower(Struct, frozen=True, kw_only=True):
    """A week whose labels come later, or fewer of them, than those of the weeks before."""

    since: str
    until: str
    """The first and the last day of the week."""
    age_s: float
    share: float
    """The share of its predictions that had a label by the age."""
    before: float
    """The same of the weeks before."""
    weeks: int

    @property
    def sentence(self) -> str:
        return (
            f"Labels come later or fewer than before: of the predictions of {self.since} to {self.until},"
            f" {self.share * 100:.1f} % had a label after {duration(self.age_s)}."
            f" In the {self.weeks} weeks before it was {self.before * 100:.1f} %."
        )


class _Count(Struct):
    """The predictions of some days: rows, weight, squared weight, and the weight of those with a label by the age."""

    rows: int = 0
    w: float = 0.0
    w2: float = 0.0
    labelled: float = 0.0

    @property
    def share(self) -> float:
        return self.labelled / self.w

    @property
    def effective(self) -> float:
        """Kish's effective number."""
        return self.w**2 / self.w2


def slower_of(
    cells: Sequence[accuracy.Cell], ages_s: Sequence[int], places: Sequence[int], now_us: int
) -> Slower | None:
    """Return the alarm of the smallest age that has one; None if no age has. `places` are as in `triangle_of`."""
    first = min((cell.day for cell in cells), default=0)
    for age_s, place in zip(ages_s, places, strict=True):
        last = (now_us - age_s * 1_000_000) // DAY_US - 1
        # A week that began before the first prediction lacks some of its days.
        ends = [last - WEEK * week for week in range(WEEKS_BEFORE + 1) if last - WEEK * (week + 1) + 1 >= first]
        weeks = [_count(cells, end, place) for end in ends]
        newest, before = weeks[:1], [week for week in weeks[1:] if week.rows >= AT_RISK_MIN]
        if not newest or newest[0].rows < AT_RISK_MIN or len(before) < WEEKS_MIN:
            continue
        whole = _Count()
        for week in before:
            _add(whole, week.rows, week.w, week.w2, week.labelled)
        share, effective = newest[0].share, newest[0].effective
        _, high = newcombe(whole.share, whole.effective, share, effective, NORMAL)
        is_lowest = share < min(week.share for week in before)
        if is_lowest and high < 0 and share <= (1 - FALL_MIN) * whole.share:
            return Slower(
                since=day_text(last - WEEK + 1),
                until=day_text(last),
                age_s=float(age_s),
                share=share,
                before=whole.share,
                weeks=len(before),
            )
    return None


def _count(cells: Iterable[accuracy.Cell], last: int, place: int) -> _Count:
    """Return the count of the seven days up to the last."""
    found = _Count()
    for cell in cells:
        if last - WEEK < cell.day <= last:
            is_labelled = cell.place is not None and cell.place <= place
            _add(found, cell.rows, cell.w, cell.w2, cell.w if is_labelled else 0.0)
    return found


def _add(count: _Count, rows: int, w: float, w2: float, labelled: float) -> None:
    count.rows, count.w = count.rows + rows, count.w + w
    count.w2, count.labelled = count.w2 + w2, count.labelled + labelled
