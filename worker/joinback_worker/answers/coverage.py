"""The label curve of one application: for `explain`, and for a check of its maturity."""

from datetime import datetime

from joinback.settings import Settings

from . import questions
from .curve import LADDER_S, SHARES, Curve, ages_us, curve_of
from .dialect import us_of
from .questions import Asked
from .stores import open_store


async def first_label_curve(
    settings: Settings, application: str, now: datetime, maturity_s: int | None = None, *ages_s: float
) -> Curve:
    """Return the curve of the first label. It has points at the maturity and at these ages.

    Raises ConfigurationError for a sink that answers no questions, and SinkUnavailable.
    """
    ages = ages_us(round(max(LADDER_S[-1], maturity_s or 0, *ages_s, 0) * 1e6), maturity_s, *ages_s)
    asked = Asked(application=application, now_us=us_of(now))
    async with open_store(settings, application) as store:
        answer = await store.ask(questions.curve(store.dialect, asked, ages, SHARES))
    return curve_of(None, ages, answer, maturity_s)


async def coverage(
    settings: Settings, application: str, age_s: float, now: datetime
) -> tuple[float | None, float | None]:
    """Return the share of predictions with a label at an age, and the age in seconds at which nine in ten have one.

    Each is None if it is not known. Raises as `first_label_curve` does.
    """
    if settings.emit == "joined":
        return None, None  # rows without a label are not kept, so their number is not known
    drawn = await first_label_curve(settings, application, now, None, age_s)
    share = next((point.share for point in drawn.points if abs(point.age_s - age_s) < 1e-3), None)
    return share, drawn.ages_s.get("p90")
