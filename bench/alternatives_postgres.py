"""Events as they are into PostgreSQL, each call a commit; a view joins them whenever somebody reads."""

import os

import psycopg
from psycopg.types.json import Jsonb

SCHEMA = """
create table if not exists predictions (
    join_key text primary key, predicted_at timestamptz, inputs jsonb, outputs jsonb
);
create table if not exists labels (event_id text primary key, join_key text, labelled_at timestamptz, label int);
create index if not exists labels_by_key on labels (join_key, labelled_at desc);
create or replace view records as
    select join_key, predicted_at, inputs, outputs, label, labelled_at
    from predictions
    left join (
        select distinct on (join_key) join_key, labelled_at, label from labels order by join_key, labelled_at desc
    ) as newest using (join_key);
"""
PREDICTION = "insert into predictions values (%s, %s, %s, %s) on conflict do nothing"
LABEL = "insert into labels values (%s, %s, %s, %s) on conflict do nothing"


def connect():
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


database = connect()
database.execute(SCHEMA)


def predict(event_id, key, at, inputs, outputs):
    database.execute(PREDICTION, (key, at, Jsonb(inputs), Jsonb(outputs)))


def label(event_id, key, at, value):
    database.execute(LABEL, (event_id, key, at, value))


def close():
    database.close()
