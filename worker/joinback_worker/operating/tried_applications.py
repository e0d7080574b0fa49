"""Try the set-up of each application: whether its maturity ends before the labels come."""

from joinback.command_line import command_line
from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings
from joinback_worker.answers.coverage import first_label_curve
from joinback_worker.config.rules_file import config_of

from .diagnosis import Tried, problem
from .spans import span
from .states import Overview

APPLICATIONS_MAX = 20
"""The applications whose label curves are computed. Each curve takes the sink some seconds per million rows."""
MATURITY_SHARE_MIN = 0.9
"""The share of all labels that should have come by the maturity. With fewer, too many rows are closed as unlabelled."""


async def try_applications(settings: Settings, seen: Overview) -> list[Tried]:
    """Return what the overview cannot know. Without a sink that answers questions, no curve is tried."""
    tried: list[Tried] = []
    try:
        rules = config_of(settings).applications
    except ConfigurationError:
        rules = {}  # `_try_rules` of doctor.py reports it
    for state in seen.applications[:APPLICATIONS_MAX]:
        maturity_s = rules[state.application].row_maturity_s if state.application in rules else None
        if maturity_s is not None:
            tried += await _maturity(settings, state.application, maturity_s, seen)
    return tried


async def _maturity(settings: Settings, application: str, maturity_s: int, seen: Overview) -> list[Tried]:
    try:
        curve = await first_label_curve(settings, application, seen.at, maturity_s)
    except (JoinbackError, NotImplementedError):
        return []
    if curve.refused or not curve.points or curve.by_maturity is None:
        return []
    last = curve.points[-1].share
    if not last or curve.by_maturity >= MATURITY_SHARE_MIN * last:
        return []
    says = (
        f"{application}: at its maturity of {span(maturity_s)}, only {curve.by_maturity / last:.0%} of its labels"
        " have come"
    )
    p90 = curve.ages_s.get("p90")
    to = f" to about {span(p90)}" if p90 else ""
    fix = f"raise maturity_s in joinback.toml{to}; {command_line('report', application)}"
    return [problem("applications", "maturity_below_curve", says, fix, application)]
