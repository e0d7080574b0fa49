"""What a report is asked, and its answers: values alone, which a terminal, a file and a page show."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from joinback.errors import ConfigurationError

from . import accuracy, compare
from .choice import Choice
from .curve import Curve
from .estimate import reference_age_d
from .pairing import Pair
from .scores import Scores
from .slower import Slower
from .triangle import Triangle


class NoApplication(ConfigurationError):
    """The sink holds no row of this application."""

    def __init__(self, application: str, known: Sequence[str]) -> None:
        super().__init__(f"the sink has no rows of {application!r}")
        self.application = application
        self.known = known


class Wanted(Struct, frozen=True, kw_only=True):
    """What a person asks for. What is None is guessed, and the report says what was guessed."""

    application: str
    now: datetime
    since: datetime | None = None
    age_d: float | None = None
    choice: Choice = Choice()
    versions: tuple[str, str] | None = None


class Report(Struct, frozen=True, kw_only=True):
    """The answers. A figure that is not known is None, and a line of `notes` says why."""

    application: str
    now: datetime
    statuses: dict[str, int]
    age_s: float
    age_why: str
    curves: list[Curve]
    pair: Pair | None = None
    why_no_pair: str | None = None
    """Why nothing is compared, if nothing is."""
    to_keep: list[str] = []
    """Lines of joinback.toml that declare the comparison, if it does not yet."""
    days: list[accuracy.Day] = []
    together: list[accuracy.Day] = []
    """By day over all versions. Their `version` is None."""
    ripe: accuracy.Day | None = None
    unripe: accuracy.Day | None = None
    """`ripe`: all days that are old enough for the one age, as if they were one day. `unripe`: all younger days."""
    fields: list[str] = []
    outputs: list[str] = []
    """The names of fields and outputs seen, which could be compared."""
    triangle: Triangle | None = None
    slower: Slower | None = None
    """Whether labels come later or fewer than in the weeks before."""
    versions: list[compare.Side] = []
    """Over all ripe days."""
    comparison: compare.Comparison | None = None
    scores: list[Scores] = []
    quantiles: dict[str, float] = {}
    """By name of a quantile output: the share of ripe labels that are at most this output. See `pair.quantiles`."""
    notes: list[str] = []

    @property
    def estimate_until_s(self) -> float:
        """How old a label may be that the estimate still takes into account, in seconds."""
        return reference_age_d(self.age_s / 86_400) * 86_400
