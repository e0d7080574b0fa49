"""From feedback fields to findings: values of a wrong type, and names that are most likely typos. Pure."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

from joinback.command_line import command_line
from joinback.settings import Settings
from joinback_worker.nearest import nearest

from .findings import Finding, finding
from .spans import several, verb
from .sql_line import literal, sql_line
from .states import State
from .thresholds import DAY_S


def field_findings(state: State, now: datetime, settings: Settings) -> Iterator[Finding]:
    """Yield each field whose values broke its declaration, and each that a single event logged.

    A field that was logged once is yielded if that is long ago, or if another field has nearly the same name.
    """
    name = state.application
    repeated = [field for field, seen in state.fields.items() if seen.is_repeated]
    for field, seen in state.fields.items():
        if seen.broken:
            have = verb(seen.broken, "has", "have")
            says = f"{name}: {several(seen.broken, 'value')} of {field!r} {have} another type than declared"
            fix = f"correct the declaration (joinback config check) or the senders of {name}"
            yield finding("field_broken", says, fix, name)
        if seen.is_repeated or not repeated or seen.first_seen_at is None:
            continue
        meant = nearest(field, repeated)
        if meant or _is_old(seen.first_seen_at, now):
            says = f"{name}: the feedback field {field!r} was logged once, on {seen.first_seen_at[:10]}"
            asks = f"did its sender mean {meant}? " if meant else ""
            yield finding("field_seen_once", says, f"{asks}{_its_row(name, field, settings)}", name)


def _is_old(text: str, now: datetime) -> bool:
    try:
        return now - datetime.fromisoformat(text) > timedelta(seconds=DAY_S)
    except (ValueError, TypeError):
        return False  # another program wrote it


def _its_row(application: str, field: str, settings: Settings) -> str:
    """Return how to find the key of the event: it is drained, so it is in the sink, not in the queue."""
    pattern = literal(f"%{json.dumps(field, ensure_ascii=False)}%")
    query = (
        f"select join_key from records where application = {literal(application)}"  # noqa: S608
        f" and cast(feedback as text) like {pattern}"
    )
    if (line := sql_line(settings.sink_url, query)) is not None:
        return f"its key: {line}"
    return f"look for it in what the sink got; then {command_line('explain', application, 'KEY')}"
