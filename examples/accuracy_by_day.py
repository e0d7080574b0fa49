"""Print accuracy by day with its bounds, by one SQL query, from five past days of the diagnosis service.

    python examples/accuracy_by_day.py

It uses JOINBACK_REDIS_URL and JOINBACK_SINK_URL if they are set. Otherwise it starts a Valkey and an SQLite file
that end with the script.
"""

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from diagnosis_service import APPLICATION, DATA, FEATURES, MALIGNANT, create_app, train
from flask.testing import FlaskClient
from sklearn.model_selection import train_test_split

import joinback
from joinback_worker.embedded import embedded_valkey

# Row numbers of the data: first the cases to train on, then the cases to serve.
KNOWN, HELD_OUT = train_test_split(range(len(MALIGNANT)), train_size=169, random_state=0, stratify=MALIGNANT)
FIRST_DAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAYS = 5

ACCURACY_BY_DAY = """
SELECT date(predicted_at) AS day,
       count(*) AS predictions,
       count(is_right) AS labelled,
       round(avg(is_right), 3) AS so_far,
       round(avg(coalesce(is_right, 0)), 3) AS at_least,
       round(avg(coalesce(is_right, 1)), 3) AS at_most
FROM (
    SELECT predicted_at,
           CASE WHEN feedback_delay_s IS NOT NULL THEN
                json_extract(outputs, '$.malignant') = json_extract(feedback, '$.malignant') END AS is_right
    FROM records
    WHERE application = :application AND predicted_at IS NOT NULL
)
GROUP BY day
ORDER BY day
"""


class Call(NamedTuple):
    """One request to the service. `at` is the time of the event, not of the replay."""

    at: datetime
    path: str
    body: dict[str, Any]


def calls() -> list[Call]:
    """Return the whole replay in the order of time: a prediction per case, and its diagnosis one to nine days later."""
    planned = []
    chance = random.Random(0)
    for number, case in enumerate(HELD_OUT):
        seen_at = FIRST_DAY + timedelta(days=number % DAYS, minutes=number)
        planned.append(Call(seen_at, f"/cases/{case}/predict", dict(zip(FEATURES, DATA.data[case], strict=True))))
        # One patient in five never comes back.
        if chance.random() < 0.8:
            told_at = seen_at + timedelta(days=chance.randint(1, 9))
            planned.append(Call(told_at, f"/cases/{case}/diagnose", {"malignant": bool(MALIGNANT[case])}))
    return sorted(planned, key=lambda call: call.at)


def send(service: FlaskClient, some_calls: Sequence[Call]) -> None:
    """Post the calls to the service, each with the time of its event."""
    for call in some_calls:
        response = service.post(call.path, json={**call.body, "at": call.at.isoformat()})
        assert response.status_code < 300, response.text


def drain() -> str:
    """Drain once, after Redis has every logged event. Return the line that the command prints. In production a worker
    does this every five minutes.
    """
    if not joinback.flush(30.0):
        sys.exit("Redis does not take the events; is it up?")
    # Only this application: a Redis in use also holds others, whose rows belong elsewhere.
    command = [sys.executable, "-m", "joinback_worker", "drain", "--application", APPLICATION]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main() -> None:
    with ExitStack() as stack:
        if "JOINBACK_REDIS_URL" not in os.environ:
            os.environ["JOINBACK_REDIS_URL"] = stack.enter_context(embedded_valkey())
        if "JOINBACK_SINK_URL" not in os.environ:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-example-"))
            os.environ["JOINBACK_SINK_URL"] = f"sqlite:///{folder}/joinback.db"
        sink = urlsplit(os.environ["JOINBACK_SINK_URL"])
        if sink.scheme != "sqlite":
            sys.exit("the query is written for SQLite; set JOINBACK_SINK_URL=sqlite:////tmp/joinback.db, or unset it")
        stack.callback(joinback.close)

        print("data: Breast Cancer Wisconsin (Diagnostic), Wolberg, Street and Mangasarian, UCI, CC BY 4.0")
        print(f"model: logistic regression, trained just now on {len(KNOWN)} of {len(MALIGNANT)} cases")
        service = create_app(train(KNOWN)).test_client()
        todo = calls()
        middle = len(todo) // 2
        for some_calls in (todo[:middle], todo[middle:]):
            send(service, some_calls)
            print(f"{len(some_calls)} calls up to {some_calls[-1].at:%Y-%m-%d}; {drain()}")

        print(ACCURACY_BY_DAY)
        with closing(sqlite3.connect(unquote(sink.path.removeprefix("/")))) as database:
            found = database.execute(ACCURACY_BY_DAY, {"application": APPLICATION})
            print("".join(f"{column[0]:>12}" for column in found.description))
            for row in found:
                print("".join(f"{value!s:>12}" for value in row))


if __name__ == "__main__":
    main()
