"""What a contender made of the stream: run by bench/alternatives_run.py as a process of its own.

    python bench/alternatives_check.py CONTENDER DATABASE KEYS

Prints one JSON object: by kind how many rows are right, wrong and lost, how many there are beside the first of their
key, and the milliseconds that a count and a mean per day over all rows takes, the median of QUERIES.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from statistics import median
from typing import Any

import psycopg
from alternatives_contenders import CONTENDERS
from alternatives_stream import check, doubled, make

QUERIES = 5


def main() -> None:
    name, place, keys = sys.argv[1:]
    contender = CONTENDERS[name]
    connected: Any = sqlite3.connect(place) if contender.sqlite else psycopg.connect(place, autocommit=True)
    with closing(connected) as database:
        # As autovacuum would have done within a minute.
        database.execute("analyze")
        rows = database.execute(contender.rows).fetchall()
        query_ms = _timed_ms(lambda: database.execute(contender.per_day).fetchall())
    kinds = check(make(int(keys)).truth, rows)
    print(json.dumps({"kinds": kinds, "doubled": doubled(row[0] for row in rows), "query_ms": query_ms}))


def _timed_ms(ask: Callable[[], Any]) -> float:
    ask()
    times = []
    for _ in range(QUERIES):
        started = time.perf_counter()
        ask()
        times.append((time.perf_counter() - started) * 1e3)
    return median(times)


if __name__ == "__main__":
    main()
