"""Each application's own set-up: fields that were told once, and a maturity before its labels come."""

from collections.abc import Iterator
from datetime import datetime
from shlex import quote

from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings
from joinback_worker.answers.coverage import first_label_curve
from joinback_worker.config.rules_file import config_of
from joinback_worker.nearest import nearest

from .diagnosis import Tried, amiss
from .spans import span
from .states import Overview, State
from .thresholds import DAY_S

APPLICATIONS_MAX = 20
"""Whose curves are drawn: each is a question to the sink of some seconds, where it holds millions of rows."""
MATURITY_SHARE_MIN = 0.9
"""Of the labels that ever come; fewer by the maturity make rows that say they have none, and are wrong."""


async def of_applications(settings: Settings, seen: Overview) -> list[Tried]:
    """Try what the overview cannot know. A sink that answers no questions tells no curve."""
    tried: list[Tried] = []
    try:
        rules = config_of(settings).applications
    except ConfigurationError:
        rules = {}  # told where the file was tried
    for state in seen.applications:
        tried += _of_fields(state, seen.at)
    for state in seen.applications[:APPLICATIONS_MAX]:
        maturity_s = rules[state.application].row_maturity_s if state.application in rules else None
        if maturity_s is not None:
            tried += await _of_maturity(settings, state.application, maturity_s, seen)
    return tried


def _of_fields(state: State, now: datetime) -> Iterator[Tried]:
    """A field that one event told, long ago or beside another of nearly its name: most likely a typo."""
    repeated = [name for name, field in state.fields.items() if field.is_repeated]
    for name, field in state.fields.items():
        if field.is_repeated or not repeated or field.first_seen_at is None:
            continue
        meant = nearest(name, repeated)
        if meant or _age_s(field.first_seen_at, now) > DAY_S:
            said = f"{state.application}: the feedback field {name!r} was told once, on {field.first_seen_at[:10]}"
            fix = f"did its sender mean {meant}? " if meant else ""
            yield amiss(
                "applications",
                "field_seen_once",
                said,
                f"{fix}joinback tap {quote(state.application)}",
                state.application,
            )


def _age_s(text: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(text)).total_seconds()
    except (ValueError, TypeError):
        return 0.0  # somebody else wrote it


async def _of_maturity(settings: Settings, application: str, maturity_s: int, seen: Overview) -> list[Tried]:
    try:
        curve = await first_label_curve(settings, application, seen.at, maturity_s)
    except (JoinbackError, NotImplementedError):
        return []
    if curve.refused or not curve.points or curve.by_maturity is None:
        return []
    last = curve.points[-1].share
    if not last or curve.by_maturity >= MATURITY_SHARE_MIN * last:
        return []
    said = (
        f"{application}: at its maturity of {span(maturity_s)} {curve.by_maturity / last:.0%} of the labels that ever"
        " come have come"
    )
    p90 = curve.ages_s.get("p90")
    to = f" to some {span(p90)}" if p90 else ""
    fix = f"raise maturity_s in joinback.toml{to}; joinback report {quote(application)}"
    return [amiss("applications", "maturity_below_curve", said, fix, application)]
