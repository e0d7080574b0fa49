"""The reference model: what the rows must be, from a dict of events and a sort. It shares no code with the worker."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

Events = Mapping[str, Mapping[str, Any]]
"""`<kind>:<event_id>` -> the event as a dict, times as datetime."""


def row(
    events: Events,
    window_s: float = 180 * 86_400,
    rules: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The parts of a row that the join decides. `rules` are an application's table in joinback.toml."""
    rules = rules or {}
    declared = rules.get("feedback", {})
    served = _sorted(events, "prediction")
    first = served[0] if served else None
    told = _told(events, first, rules.get("join_window_s", window_s), declared)
    said = {
        name: _one(declared.get(name, {}).get("reducer", "last"), [v for _, v in values])
        for name, values in told.items()
    }
    label_times = [t for name, values in told.items() for t, _ in values if name in rules.get("labels", told)]
    age = now - _time(events, first) if first and now else timedelta.min

    def is_mature(maturity_s: float | None) -> bool:
        return maturity_s is not None and age > timedelta(seconds=maturity_s)

    maturities = {name: rule.get("maturity_s", rules.get("maturity_s")) for name, rule in declared.items()}
    defaults = {
        name: rule["default"]
        for name, rule in declared.items()
        if "default" in rule and name not in told and is_mature(maturities[name])
    }
    ends = [maturities[name] for name in rules.get("labels", declared)]
    ends += [] if "labels" in rules else [rules.get("maturity_s")]
    is_over = is_mature(max((end for end in ends if end is not None), default=None))
    delays = [(time - _time(events, first)).total_seconds() for time in label_times] if first else []
    return {
        "status": "orphan" if not first else "joined" if label_times else "unlabelled" if is_over else "predicted",
        "inputs": events[first]["inputs"] if first else None,
        "outputs": events[first]["outputs"] if first else None,
        "feedback": (said | defaults) or None,
        "default_fields": sorted(defaults) or None,
        "field_times": {
            name: {"first": _text(values[0][0]), "last": _text(values[-1][0])} for name, values in told.items()
        }
        or None,
        "feedback_delay_s": min(delays, default=None),
        "conflicts": set(served[1:]) or None,
        "events": {f for f in events if not f.startswith("prediction:")} or None,
    }


def _time(events: Events, field: str) -> Any:
    at, logged_at = events[field]["at"], events[field]["logged_at"]
    return logged_at if at - logged_at > timedelta(minutes=5) else at


def _sorted(events: Events, kind: str) -> list[str]:
    return sorted((f for f in events if f.startswith(kind + ":")), key=lambda f: (_time(events, f), f))


def _told(events: Events, first: str | None, window_s: float, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Field -> the (time, value) pairs of its best source that are in time and stand, in order."""
    ranked: dict[str, list[tuple[int, Any, Any]]] = {}
    standing = _standing(events)
    for field in _sorted(events, "feedback"):
        if first and (_time(events, field) - _time(events, first)).total_seconds() > window_s:
            continue
        for name, value in events[field]["feedback"].items():
            if any(_takes_back(events, retraction, field, name) for retraction in standing):
                continue
            ranking = declared.get(name, {}).get("sources", [])
            source = events[field].get("source")
            rank = ranking.index(source) if source in ranking else len(ranking)
            typed = _typed(declared.get(name, {}).get("type"), value)
            ranked.setdefault(name, []).append((rank, _time(events, field), typed))
    best = {name: min(rank for rank, _, _ in values) for name, values in ranked.items()}
    return {name: [(t, v) for rank, t, v in values if rank == best[name]] for name, values in ranked.items()}


def _standing(events: Events) -> list[str]:
    """The retractions that no later one takes back, from the latest on."""
    standing: list[str] = []
    for field in reversed(_sorted(events, "retraction")):
        undone = [i for later in standing for i in events[later].get("retraction_ids") or []]
        if field.partition(":")[2] not in undone:
            standing.append(field)
    return standing


def _takes_back(events: Events, retraction: str, field: str, name: str) -> bool:
    body = events[retraction]
    if body["fields"] is not None and name not in body["fields"]:
        return False
    if body.get("event_ids") is None and body.get("retraction_ids") is None:
        return bool(_time(events, retraction) >= _time(events, field))
    return field.partition(":")[2] in (body.get("event_ids") or [])


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _typed(kind: Any, value: Any) -> Any:
    """The value as one of the declared type, where it surely is one; of those that `events.py` draws."""
    if kind == "bool":
        return {"1": True, "true": True, "0": False, "false": False}.get(str(value).lower(), value)
    if kind == "int" and isinstance(value, str) and value.isdecimal():
        return int(value)
    if kind == "str" and isinstance(value, bool | int):
        return json.dumps(value)
    return value


def _one(reducer: str, values: list[Any]) -> Any:
    numbers = [int(v) for v in values if isinstance(v, bool | int)]
    if reducer == "sum":
        return sum(numbers) if numbers else None
    if reducer == "count":
        return sum(v is not None for v in values)
    return values[0 if reducer == "first" else -1]


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


_JSON = frozenset({"inputs", "outputs", "feedback", "default_fields", "field_times", "feedback_events", "conflicts"})


def parts(column: Callable[[str], Any]) -> dict[str, Any]:
    """The same parts of a row that a sink holds, by the name of the column."""

    def decoded(name: str) -> Any:
        return None if column(name) is None else json.loads(column(name))

    return {
        "status": column("status"),
        "inputs": decoded("inputs"),
        "outputs": decoded("outputs"),
        "feedback": decoded("feedback"),
        "default_fields": decoded("default_fields"),
        "field_times": decoded("field_times"),
        "feedback_delay_s": column("feedback_delay_s"),
        "conflicts": set(decoded("conflicts") or ()) or None,
        "events": set(decoded("feedback_events") or ()) or None,
    }
