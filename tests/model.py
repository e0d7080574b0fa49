"""The reference model: what the rows must be, from a dict of events and a sort. It shares no code with the worker."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

Events = Mapping[str, Mapping[str, Any]]
"""`<kind>:<event_id>` -> the event as a dict, times as datetime."""


def row(events: Events, window_s: float = 180 * 86_400) -> dict[str, Any]:
    """The parts of a row that the join decides."""

    def time(field: str) -> Any:
        at, logged_at = events[field]["at"], events[field]["logged_at"]
        return logged_at if at - logged_at > timedelta(minutes=5) else at

    def sort(kind: str) -> list[str]:
        return sorted((f for f in events if f.startswith(kind + ":")), key=lambda f: (time(f), f))

    served = sort("prediction")
    first = served[0] if served else None
    said: dict[str, Any] = {}
    spoke = []
    for field in sort("feedback"):
        if first and (time(field) - time(first)).total_seconds() > window_s:
            continue
        taken_back = [events[r] for r in sort("retraction") if time(r) >= time(field)]
        standing = {
            name: value
            for name, value in events[field]["feedback"].items()
            if not any(r["fields"] is None or name in r["fields"] for r in taken_back)
        }
        said.update(standing)
        spoke += [time(field)] if standing else []
    return {
        "status": "orphan" if not first else "joined" if spoke else "predicted",
        "inputs": events[first]["inputs"] if first else None,
        "outputs": events[first]["outputs"] if first else None,
        "feedback": said or None,
        "feedback_delay_s": (min(spoke) - time(first)).total_seconds() if first and spoke else None,
        "conflicts": set(served[1:]) or None,
        "events": {f for f in events if not f.startswith("prediction:")} or None,
    }


def events_of(record: Any) -> dict[str, dict[str, Any]]:
    """A record's events as the model takes them."""
    fields = {}
    for kind, events in (
        ("prediction", record.predictions),
        ("feedback", record.feedback),
        ("retraction", record.retractions),
    ):
        for event_id, event in events.items():
            body = json.loads(msgspec.json.encode(event))
            fields[f"{kind}:{event_id}"] = {"fields": None, **body, "at": event.at, "logged_at": event.logged_at}
    return fields


def parts_of(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a row whose JSON is decoded already."""
    return parts(lambda name: json.dumps(cells[name]) if name in _JSON and cells[name] is not None else cells[name])


_JSON = frozenset({"inputs", "outputs", "feedback", "feedback_events", "conflicts"})


def parts(column: Callable[[str], Any]) -> dict[str, Any]:
    """The same parts of a row that a sink holds, by the name of the column."""

    def decoded(name: str) -> Any:
        return None if column(name) is None else json.loads(column(name))

    return {
        "status": column("status"),
        "inputs": decoded("inputs"),
        "outputs": decoded("outputs"),
        "feedback": decoded("feedback"),
        "feedback_delay_s": column("feedback_delay_s"),
        "conflicts": set(decoded("conflicts") or ()) or None,
        "events": set(decoded("feedback_events") or ()) or None,
    }
