"""The made-up stream that every contender gets, what is true of it, and what a contender made of it."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

START = datetime(2026, 9, 1, tzinfo=UTC)
"""Far enough in the past that a month later is past too."""
FEATURES = 20
SEED = 7
KINDS = {
    "on time": 30,
    "never labelled": 20,
    "late": 15,
    "early": 10,
    "repeated": 10,
    "corrected": 10,
    "corrected late": 5,
}
"""Of each hundred keys, so many. In production most are never labelled; here each kind is to weigh something."""
PHASES = 4
"""Five minutes each but for what lies between: 0 predictions, 1 labels, 2 corrections, 3 what comes a month later."""
LAST_BEFORE_HORIZON = 2
"""After this phase a week passes: what Redis or a window holds for a week is gone."""


class Event(NamedTuple):
    kind: Literal["prediction", "label"]
    event_id: str
    key: str
    at: datetime
    inputs: dict[str, float] | None = None
    outputs: dict[str, float] | None = None
    label: int | None = None


class Truth(NamedTuple):
    kind: str
    inputs: dict[str, float]
    outputs: dict[str, float]
    label: int | None


class Made(NamedTuple):
    """All of it, for so many keys."""

    phases: list[list[Event]]
    truth: dict[str, Truth]


def make(keys: int) -> Made:
    """Return the same for the same number of keys."""
    rng = random.Random(SEED)
    phases: list[list[Event]] = [[] for _ in range(PHASES)]
    truth = {}
    kinds = [kind for kind, share in KINDS.items() for _ in range(share)]
    for n in range(keys):
        kind, key = kinds[n * 37 % 100], f"loan_{n:07}"
        came = _deliveries(rng, kind, key, n)
        for phase, events in zip(phases, came, strict=False):
            phase += events
        of = [event for events in came for event in events]
        (prediction,) = {event.event_id: event for event in of if event.kind == "prediction"}.values()
        newest = max((event for event in of if event.kind == "label"), key=lambda event: event.at, default=None)
        assert prediction.inputs is not None
        assert prediction.outputs is not None
        truth[key] = Truth(kind, prediction.inputs, prediction.outputs, newest and newest.label)
    for phase in phases:
        _mix(rng, phase)
    return Made(phases, truth)


def _deliveries(rng: random.Random, kind: str, key: str, n: int) -> list[list[Event]]:
    """Return what comes of one key, by phase."""
    at = START + timedelta(milliseconds=10 * n)
    inputs = {f"feature_{m:02}": round(rng.random() * 1_000, 3) for m in range(FEATURES)}
    prediction = Event("prediction", f"p{n}", key, at, inputs=inputs, outputs={"score": round(rng.random(), 4)})
    first = rng.randrange(2)
    early = Event("label", f"e{n}", key, at + timedelta(seconds=1), label=first)
    on_time = Event("label", f"l{n}", key, at + timedelta(minutes=5), label=first)
    corrected = Event("label", f"c{n}", key, at + timedelta(hours=1), label=1 - first)
    late = Event("label", f"m{n}", key, at + timedelta(days=30), label=1 - first)
    return {
        "on time": [[prediction], [on_time]],
        "never labelled": [[prediction]],
        "late": [[prediction], [], [], [late]],
        # The label came by a shorter way than its prediction.
        "early": [[early], [prediction]],
        # At once, as when an answer was lost, and once more after all of it was written.
        "repeated": [[prediction, prediction], [on_time, on_time], [prediction, on_time]],
        # A third of what was corrected is delivered once more, after its correction.
        "corrected": [[prediction], [on_time], [corrected, *([on_time] if n % 3 == 0 else [])]],
        "corrected late": [[prediction], [on_time], [], [late]],
    }[kind]


def _mix(rng: random.Random, events: list[Event]) -> None:
    """Bring them into the order of a busy service, but leave those of a key as they are."""
    places = sorted(range(len(events)), key=lambda n: n + rng.random() * 1_000)
    order: dict[str, list[Event]] = {}
    for event in events:
        order.setdefault(event.key, []).append(event)
    mixed = [events[place].key for place in places]
    events[:] = [order[key].pop(0) for key in mixed]


def check(truth: dict[str, Truth], rows: Iterable[tuple[str, Any, Any, int | None]]) -> dict[str, list[int]]:
    """Return by kind how many rows are right, wrong (another label, other inputs, or twice there) and lost."""
    found: dict[str, list[bool]] = {}
    for key, inputs, outputs, label in rows:
        one = truth[key]
        good = (_decoded(inputs), _decoded(outputs), label) == (one.inputs, one.outputs, one.label)
        found.setdefault(key, []).append(good)
    counts = {kind: [0, 0, 0] for kind in KINDS}
    for key, one in truth.items():
        of = found.get(key)
        counts[one.kind][2 if of is None else 0 if of == [True] else 1] += 1
    return counts


def doubled(keys: Iterable[str]) -> int:
    """Return how many rows are there beside the first of their key."""
    return sum(count - 1 for count in Counter(keys).values())


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
