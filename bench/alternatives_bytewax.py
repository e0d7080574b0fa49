"""Bytewax, a stream processor: the service adds events to a Redis stream, a window joins them, a sink upserts rows.

A window is a session per join key: it takes what comes within a week of the last event, by the events' own time. It
tells each change at once, so a row is there before its label. Snapshots go to Bytewax's own recovery store.

    mkdir recovery && python -m bytewax.recovery recovery 1
    python -m bytewax.run -r recovery -s 10 -b 0 alternatives_bytewax
"""

import json
import os
from datetime import datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
import psycopg
import redis
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from psycopg.types.json import Jsonb

WAIT = timedelta(days=7)
OUT_OF_ORDER = timedelta(hours=1)
BATCH = 1_000
ENTRIES_MAX = 10_000_000
TAIL = os.environ.get("TAIL", "1") == "1"
SCHEMA = """
create table if not exists records (
    join_key text primary key, predicted_at timestamptz, inputs jsonb, outputs jsonb, label int, labelled_at timestamptz
)
"""
UPSERT = """
insert into records values (%s, %s, %s, %s, %s, %s)
on conflict (join_key) do update set label = excluded.label, labelled_at = excluded.labelled_at
where records.labelled_at is null or excluded.labelled_at >= records.labelled_at
"""

buffer = redis.Redis.from_url(os.environ["REDIS_URL"])


def add(event):
    buffer.xadd("events", {"event": json.dumps(event)}, maxlen=ENTRIES_MAX, approximate=True)


def predict(event_id, key, at, inputs, outputs):
    add({"kind": "prediction", "join_key": key, "at": at.isoformat(), "inputs": inputs, "outputs": outputs})


def label(event_id, key, at, value):
    add({"kind": "label", "join_key": key, "at": at.isoformat(), "label": value})


def close():
    buffer.close()


class Entries(StatefulSourcePartition):
    def __init__(self, last):
        self.last = last or "0"

    def next_batch(self):
        entries = buffer.xrange("events", min=f"({self.last}", count=BATCH)
        if not entries and not TAIL:
            raise StopIteration
        events = [json.loads(fields[b"event"]) for _, fields in entries]
        if entries:
            self.last = entries[-1][0].decode()
        return events

    def snapshot(self):
        return self.last


class Stream(FixedPartitionedSource):
    def list_parts(self):
        return ["events"]

    def build_part(self, step_id, for_part, resume_state):
        return Entries(resume_state)


class Upserts(StatelessSinkPartition):
    def __init__(self):
        self.database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        self.database.execute(SCHEMA)

    def write_batch(self, items):
        with self.database.transaction(), self.database.cursor() as cursor:
            cursor.executemany(UPSERT, [row(key, *sides) for key, (_, sides) in items])


class Records(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Upserts()


def row(key, prediction, said):
    at_and_label = (said["label"], said["at"]) if said else (None, None)
    return (key, prediction["at"], Jsonb(prediction["inputs"]), Jsonb(prediction["outputs"]), *at_and_label)


def by_key(step, stream):
    return op.key_on(step, stream, lambda event: event["join_key"])


flow = Dataflow("joined")
sides = op.branch("sides", op.input("events", flow, Stream()), lambda event: event["kind"] == "prediction")
joined = win.join_window(
    "join",
    win.EventClock(
        lambda event: datetime.fromisoformat(event["at"]),
        wait_for_system_duration=OUT_OF_ORDER,
        # In a replay all windows are long due by this machine's clock: it would look at each, again and again.
        to_system_utc=lambda at: at if TAIL else None,
    ),
    win.SessionWindower(gap=WAIT),
    by_key("predictions", sides.trues),
    by_key("labels", sides.falses),
    emit_mode="running",
    ordered=False,
)
# A label whose prediction is in another window has nothing to join.
with_prediction = op.filter("with_prediction", joined.down, lambda item: item[1][1][0] is not None)
op.output("records", with_prediction, Records())
