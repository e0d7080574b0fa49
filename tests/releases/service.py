"""A service that logs one part of a day: `python service.py morning 60`, `evening 60`, or `news 60`.

Ids and times are given, so whichever release logs them, they are the same events. What a morning and an evening call,
every client since the baseline offers; the news are of today's alone. It waits so many seconds for Redis at its end.
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import joinback

KEYS = [f"ad_{number}" for number in range(12)]
NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)


def predict(application: str, key: str, event_id: str = "p", minute: float = 0, **outputs: Any) -> None:
    joinback.log_record(
        application,
        inputs={"amount": 900, "of": "Zoë", "rate": 0.1},
        outputs=outputs or {"default": 0.07},
        join_key=key,
        version="1.0",
        tags={"region": "eu"},
        timestamp=NINE + timedelta(minutes=minute),
        event_id=event_id,
    )


def tell(application: str, key: str, event_id: str, minute: float, *source: str, **feedback: Any) -> None:
    at = NINE + timedelta(minutes=minute)
    by = {"source": source[0]} if source else {}
    joinback.log_record(application, feedback=feedback, join_key=key, timestamp=at, event_id=event_id, **by)


def retract(key: str, event_id: str, minute: float, **what: list[str]) -> None:
    joinback.retract("loans", key, timestamp=NINE + timedelta(minutes=minute), event_id=event_id, **what)


def morning() -> None:
    """Predictions, a repeated one, one that contradicts, feedback at once, and labels before their predictions."""
    joinback.set_sample_rate("ads", 0.5)
    for key in ("joined", "late", "corrected", "taken", "given", "sole"):
        predict("loans", key)
    predict("loans", "joined")
    predict("loans", "late", "another", 1, default=0.9)
    tell("loans", "joined", "f", 60, repaid=True)
    tell("loans", "corrected", "f", 60, repaid=False, days=3)
    tell("loans", "taken", "f", 60, repaid=True)
    tell("loans", "given", "wrong", 60, repaid=True)
    tell("loans", "early", "f", 60, repaid=True)
    tell("loans", "orphan", "f", 60, repaid=None)
    for key in KEYS:
        predict("ads", key)
        predict("clicks", key)


def evening() -> None:
    """Late feedback, a correction, retractions, what an early label waited for, and a lone prediction. What is repeated
    counts once, if it finds the shard of the first time.
    """
    tell("loans", "joined", "f", 60, repaid=True)
    tell("loans", "late", "f", 480, repaid=True)
    tell("loans", "corrected", "g", 500, repaid=True)
    retract("taken", "r", 490)
    retract("given", "r", 490, fields=["repaid"])
    tell("loans", "given", "right", 500, repaid=False)
    predict("loans", "early", minute=120)
    predict("loans", "unlabelled", minute=600)
    for key in KEYS:
        tell("ads", key, "f", 480, bought=False)
        tell("clicks", key, "f", 480, clicked=True)
        predict("clicks", key)


def news() -> None:
    """Feedback that says who tells it, a retraction of one event, and a drop that Redis is told of."""
    tell("loans", "sole", "n", 60, "human", repaid=True)
    retract("corrected", "n", 510, event_ids=["f"])
    joinback.log_record("loans", inputs=1, outputs=1, join_key="")


def main(part: str, patience_s: float) -> None:
    """Log it all, and say what became of it; exit code 1 if Redis does not have what it should."""
    joinback.init(environment="production")
    {"morning": morning, "evening": evening, "news": news}[part]()
    is_sent = joinback.close(patience_s)
    stats = joinback.stats()
    print(joinback.__file__, stats)
    unwanted = sum(stats["dropped"].values()) - stats["dropped"]["sampled_out"]
    sys.exit(0 if is_sent and unwanted == (part == "news") else 1)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
