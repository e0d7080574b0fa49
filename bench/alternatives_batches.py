"""The same tables and view as in alternatives_postgres.py, but a thread writes, up to 500 events in a commit.

While the database is away, what is logged waits; once 10,000 events wait, callers wait too.
"""

import contextlib
import queue
import threading
import time

import psycopg
from alternatives_postgres import LABEL, PREDICTION, Jsonb, connect

BATCH = 500
AGAIN_S = 1.0
waiting = queue.Queue(20 * BATCH)


def predict(event_id, key, at, inputs, outputs):
    waiting.put((PREDICTION, (key, at, Jsonb(inputs), Jsonb(outputs))))


def label(event_id, key, at, value):
    waiting.put((LABEL, (event_id, key, at, value)))


def write():
    database = connect()
    while True:
        batch = [waiting.get()]
        while len(batch) < BATCH and not waiting.empty():
            batch.append(waiting.get())
        while not committed(database, batch):
            time.sleep(AGAIN_S)
            with contextlib.suppress(psycopg.OperationalError):
                database = connect()
        for _ in batch:
            waiting.task_done()


def committed(database, batch):
    try:
        with database.transaction(), database.cursor() as cursor:
            for statement in (PREDICTION, LABEL):
                cursor.executemany(statement, [values for which, values in batch if which is statement])
    except psycopg.OperationalError:
        return False
    return True


threading.Thread(target=write, daemon=True).start()


def close():
    waiting.join()
