"""One application: how right is the model, and how late do labels come? The answers of `joinback report`, drawn."""

from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from joinback.errors import ConfigurationError
from joinback_worker.answers.answer import Wanted
from joinback_worker.answers.choice import AGE_DAYS_MAX, Choice, day_of, label_of
from joinback_worker.answers.report import report
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.place import Place
from joinback_worker.dashboard.reporting import DAYS_SHOWN, shown


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return the report and its pictures. Raises what `report` raises."""
    answer = await report(desk.settings, wanted_of(place))
    version = place.get("version")
    days_max = None if place.get("days") == "all" else DAYS_SHOWN
    return {"view": shown(answer, version=version, days_max=days_max, truth=desk.truth.get(answer.application))}


def wanted_of(place: Place) -> Wanted:
    """Return what the address asks for. Raises ConfigurationError."""
    age_d = place.number("age")
    if age_d is not None and not 0 < age_d <= AGE_DAYS_MAX:
        raise ConfigurationError(f"age={age_d:g}: it must be above 0 and at most {AGE_DAYS_MAX:g} days")
    since, compared, positive = place.get("since"), place.all("compare"), place.get("positive")
    if len(compared) not in (0, 2):
        raise ConfigurationError("compare=… compares two versions: give it twice; predictions without a version are -")
    return Wanted(
        application=place.wanted("application"),
        now=datetime.now(UTC),
        since=None if since is None else day_of(since),
        age_d=age_d,
        choice=Choice(
            field=place.get("field"),
            output=place.get("output"),
            threshold=place.number("threshold"),
            positive=UNSET if positive is None else label_of(positive),
        ),
        versions=(compared[0], compared[1]) if compared else None,
    )
