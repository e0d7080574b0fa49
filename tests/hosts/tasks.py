"""A Celery application whose tasks log: the lines that the documents show, and nothing else."""

import os

from celery import Celery
from celery.signals import worker_process_shutdown

import joinback

# Celery's own Redis transport wants a newer redis-py than arq allows; files will do.
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": os.environ["BROKER_DIR"],
    "data_folder_out": os.environ["BROKER_DIR"],
    "control_folder": os.environ["BROKER_DIR"] + "/control",
    "polling_interval": 0.02,
}
app.conf.worker_prefetch_multiplier = 1


@worker_process_shutdown.connect
def deliver(**_):
    joinback.close()


@app.task
def predict(n):
    joinback.log_record("loans", inputs={"n": n}, outputs=0.5, join_key=f"task_{n}", event_id=f"task_{n}")
