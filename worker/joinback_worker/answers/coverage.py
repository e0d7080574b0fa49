"""How many predictions of one age have their label: one point of the label curve, for whoever waits for one."""

from datetime import datetime

from joinback.settings import Settings
from joinback_worker.config import config_of

from . import questions
from .curve import SHARES, ages_us, curve_of
from .dialect import us_of
from .questions import Asked
from .stores import open_store


async def coverage(
    settings: Settings, application: str, age_s: float, now: datetime
) -> tuple[float | None, float | None]:
    """Return the share of predictions that have a label at an age, and the age in seconds at which nine in ten have.

    Each is None where it is not known. Raises ConfigurationError for a sink that answers no questions, and
    SinkUnavailable.
    """
    if settings.emit == "joined":
        return None, None  # rows without a label are not kept, so nobody knows how many there are
    ages = ages_us(max(1, round(age_s * 1e6)), age_s)
    asked = Asked(application=application, now_us=us_of(now))
    async with open_store(settings, application) as store:
        answer = await store.ask(questions.curve(store.dialect, asked, ages, SHARES))
    drawn = curve_of(None, ages, answer, config_of(settings).rules_of(application).row_maturity_s)
    share = next((point.share for point in drawn.points if abs(point.age_s - age_s) < 1e-3), None)
    return share, drawn.ages_s.get("p90")
