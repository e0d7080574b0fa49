"""Five applications in one sink, each with an output of another kind and with what makes figures go wrong:
feedback before its prediction, labels taken back, orphans, defaults, clocks ahead, sampled rows, names with quotes.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from made_up_records import record_of
from msgspec import Raw, structs

from joinback import wire
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.law.record import Record

NOW = datetime(2026, 3, 1, 12, 30, 15, 123_457, tzinfo=UTC)
"""Long ago: a view folds by the clock of the day."""
RULES: dict[str, dict[str, Any]] = {
    "loans": {
        "feedback": {
            "repaid": {
                "type": "bool",
                "maturity_s": 30 * 86_400,
                "default": False,
                "positive": False,
                "output": "default",
            }
        }
    },
    "scored": {"feedback": {"repaid": {"type": "bool", "positive": False, "output": "scores.default"}}},
}
TOPICS = ("o'neil", 'a "b" \\ c', "käse", "%s {x}")


def histories() -> list[Record]:
    """Return all records; the same each time."""
    chance = random.Random(13)
    return [*loans(), *_ads(chance), *_topics(chance), *_prices(chance), *scored()]


def loans() -> Iterator[Record]:
    for n, loan in enumerate(made_up_loans(900, NOW, days=70)):
        record = record_of(loan, NOW)
        told = record.feedback.get("f")
        if told is not None and n % 17 == 0:
            at = told.at + timedelta(hours=1)
            record.retractions["r"] = wire.Retraction(v=1, at=at, logged_at=at, fields=None)
        if n % 41 == 0:  # before its prediction
            at = loan.served_at - timedelta(minutes=3)
            record.feedback["f"] = wire.Feedback(v=1, at=at, logged_at=at, feedback={"repaid": Raw(b"true")})
        yield record
    # Feedback whose prediction never came: of no figure a part, but of the states.
    at = NOW - timedelta(days=1)
    told_alone = wire.Feedback(v=1, at=at, logged_at=at, feedback={"repaid": Raw(b"true")})
    yield Record(application="loans", join_key="orphan", predictions={}, feedback={"f": told_alone})


def scored() -> Iterator[Record]:
    """The output stands within another, beside one of its name."""
    for loan in made_up_loans(400, NOW, seed=1, days=40):
        record = record_of(loan, NOW, "scored")
        outputs = {"default": None, "scores": {"default": loan.risk, "by": {}}}
        record.predictions["p"] = structs.replace(record.predictions["p"], outputs=Raw(json.dumps(outputs).encode()))
        yield record


def _ads(chance: random.Random) -> Iterator[Record]:
    """The output is a bare number, some versions are not named, rows are sampled at two rates, clocks are ahead."""
    for n in range(600):
        at = NOW - timedelta(days=9 * chance.random(), microseconds=n)
        score = round(chance.random(), 2)
        clicked = chance.random() < score
        prediction = wire.Prediction(
            v=1,
            at=at + timedelta(hours=2) if n % 31 == 0 else at,
            logged_at=at,
            version=None if n % 3 == 0 else f"v{n % 3}",
            inputs=Raw(b"{}"),
            outputs=Raw(json.dumps(score).encode()),
            sample_rate=0.1 if n % 2 else 0.5,
        )
        yield _record("ads", n, prediction, at, chance.expovariate(1 / 3_600), {"clicked": clicked}, chance)


def _topics(chance: random.Random) -> Iterator[Record]:
    for n in range(400):
        at = NOW - timedelta(days=20 * chance.random(), microseconds=n)
        ours, theirs = chance.choice(TOPICS), chance.choice(TOPICS)
        prediction = wire.Prediction(
            v=1,
            at=at,
            logged_at=at,
            version="1",
            inputs=Raw(b"{}"),
            outputs=Raw(json.dumps({"topic is": ours, "why": [1, {"a": None}]}).encode()),
        )
        label = ours if chance.random() < 0.6 else theirs
        yield _record("topics", n, prediction, at, chance.expovariate(1 / 86_400), {"topic is": label}, chance)


def _prices(chance: random.Random) -> Iterator[Record]:
    for n in range(400):
        at = NOW - timedelta(days=20 * chance.random(), microseconds=n)
        price = round(chance.gauss(200, 50), 2)
        outputs = {"price": price, "p10": price - 40, "p90": price + 40}
        prediction = wire.Prediction(
            v=1,
            at=at,
            logged_at=at,
            version="a" if n % 2 else "b",
            inputs=Raw(b"{}"),
            outputs=Raw(json.dumps(outputs).encode()),
        )
        label = {"price": round(price + chance.gauss(5, 20 + 10 * (n % 2)), 2), "note": "text"}
        yield _record("prices", n, prediction, at, chance.expovariate(1 / 172_800), label, chance)


def _record(
    application: str,
    n: int,
    prediction: wire.Prediction,
    at: datetime,
    delay_s: float,
    label: dict[str, Any],
    chance: random.Random,
) -> Record:
    told_at = at + timedelta(seconds=delay_s)
    told = told_at <= NOW and chance.random() < 0.9
    values = {name: Raw(json.dumps(value).encode()) for name, value in label.items()}
    feedback = {"f": wire.Feedback(v=1, at=told_at, logged_at=told_at, feedback=values)} if told else {}
    return Record(application=application, join_key=f"{n}", predictions={"p": prediction}, feedback=feedback)
