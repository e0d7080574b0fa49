"""redis-py in the service; every five minutes by cron a script that merges by pandas and writes by `to_sql`.

A prediction waits in Redis for a week, under its key. Labels wait in a list; one that finds no prediction waits there
for as long. The write is the upsert that pandas' documentation shows for `method`, so that it may be repeated; of two
labels the one that is newer by its own time stands.
"""

import json
import os
import time

import pandas as pd
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.postgresql import JSONB, insert

WAIT_S = 7 * 86_400
SCHEMA = """
create table if not exists records (
    join_key text primary key, predicted_at timestamptz, inputs jsonb, outputs jsonb, label int, labelled_at timestamptz
)
"""
COLUMNS = ["join_key", "predicted_at", "inputs", "outputs", "label", "labelled_at"]

buffer = redis.Redis.from_url(os.environ["REDIS_URL"])


def predict(event_id, key, at, inputs, outputs):
    prediction = {"join_key": key, "predicted_at": at.isoformat(), "inputs": inputs, "outputs": outputs}
    buffer.set(f"prediction:{key}", json.dumps(prediction), ex=WAIT_S)


def label(event_id, key, at, value):
    said = {"join_key": key, "labelled_at": at.isoformat(), "label": value, "since": time.time()}
    buffer.rpush("labels", json.dumps(said))


def close():
    buffer.close()


def upsert(table, connection, columns, rows):
    new = insert(table.table)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["join_key"],
            set_={"label": new.excluded.label, "labelled_at": new.excluded.labelled_at},
            where=new.excluded.labelled_at >= table.table.c.labelled_at,
        ),
        [dict(zip(columns, row, strict=True)) for row in rows],
    )


def main():
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(SCHEMA))
    raw = buffer.lrange("labels", 0, -1)
    if not raw:
        return
    labels = pd.DataFrame(map(json.loads, raw)).assign(raw=raw)
    labels["labelled_at"] = pd.to_datetime(labels["labelled_at"], format="ISO8601")
    keys = labels["join_key"].unique()
    found = buffer.mget([f"prediction:{key}" for key in keys])
    predictions = pd.DataFrame(
        [json.loads(body) for body in found if body], columns=["join_key", "predicted_at", "inputs", "outputs"]
    )
    predictions["predicted_at"] = pd.to_datetime(predictions["predicted_at"], format="ISO8601")
    merged = labels.merge(predictions, on="join_key", how="left", indicator=True)
    joined = merged[merged["_merge"] == "both"].sort_values("labelled_at").drop_duplicates("join_key", keep="last")
    joined[COLUMNS].to_sql(
        "records",
        engine,
        if_exists="append",
        index=False,
        method=upsert,
        chunksize=10_000,
        dtype={"inputs": JSONB, "outputs": JSONB},
    )
    waiting = merged[(merged["_merge"] == "left_only") & (merged["since"] > time.time() - WAIT_S)]
    with buffer.pipeline() as pipeline:
        pipeline.ltrim("labels", len(raw), -1)
        if len(waiting):
            pipeline.rpush("labels", *waiting["raw"])
        pipeline.execute()


if __name__ == "__main__":
    main()
