"""From reported drops to findings: who lost how many events of which application, and why. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from joinback_worker.notes.reported_drops import ReportedDrops

from .findings import Finding, finding
from .spans import several, span
from .thresholds import DAY_S

SERVICES_NAMED = 3
APPLICATIONS_APART = 3
"""Drops of more applications share one finding: one service that fails must not fill a screen."""


def drop_findings(drops: Sequence[ReportedDrops]) -> Iterator[Finding]:
    """Yield the findings on lost events: which service lost how many of which application, and why."""
    by_application: dict[str, list[ReportedDrops]] = {}
    for one in drops:
        by_application.setdefault(one.application, []).append(one)
    if len(by_application) > APPLICATIONS_APART:
        yield _dropped(f"of {len(by_application)} applications ", drops, None)
        return
    for application, of_it in by_application.items():
        yield _dropped("", of_it, application or None)


def _dropped(of_what: str, drops: Sequence[ReportedDrops], application: str | None) -> Finding:
    losses: Counter[tuple[str, str]] = Counter()
    for one in drops:
        losses[one.reason, service(one)] += one.count
    named = ", ".join(f"{count:,} {reason} by {who}" for (reason, who), count in losses.most_common(SERVICES_NAMED))
    more = f" and {len(losses) - SERVICES_NAMED} more" if len(losses) > SERVICES_NAMED else ""
    whose = f"{application}: " if application else ""
    says = f"{whose}clients dropped {several(losses.total(), 'event')} {of_what}within {span(DAY_S)}: {named}{more}"
    return finding("client_drops", says, "see the log of that service, and its joinback.stats()", application)


def service(one: ReportedDrops) -> str:
    """Return who dropped the events: the service and its host, or the host alone."""
    return f"{one.service} on {one.host}" if one.service else one.host
