"""What a service has without a library for it: a deque and redis-py's pipeline, or the standard library's logging."""

import json
import logging
import logging.handlers
import queue
import threading
import time
from collections import deque
from typing import Any

import redis
from client_payloads import VERSION


class Pipelined:
    """What many write first: json, a bounded deque, and a thread with redis-py's pipeline of 500."""

    chunk = 9_000

    def __init__(self, backend: str) -> None:
        self._redis = redis.Redis.from_url(backend)
        self._events: deque[tuple[str, str]] = deque(maxlen=10_000)
        self._busy = False
        threading.Thread(target=self._send, daemon=True).start()

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        event = {"at": time.time(), "version": VERSION, "inputs": inputs, "outputs": outputs}
        self._events.append((key, json.dumps(event)))

    def flush(self) -> None:
        while self._events or self._busy:
            time.sleep(0.001)

    def _send(self) -> None:
        while True:
            self._busy = True
            while self._events:
                pipeline = self._redis.pipeline(transaction=False)
                for _ in range(min(500, len(self._events))):
                    key, payload = self._events.popleft()
                    pipeline.hset(f"record:{key}", "prediction", payload)
                    pipeline.expire(f"record:{key}", 3600)
                    pipeline.rpush("pending", key)
                pipeline.execute()
            self._busy = False
            time.sleep(0.05)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {name: getattr(record, name) for name in ("key", "inputs", "outputs")}
        return json.dumps(event | {"at": record.created, "version": VERSION})


class QueueHandler(logging.handlers.QueueHandler):
    """The standard library's, which encodes in the listener's thread."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class Stdlib:
    chunk = 20_000

    def __init__(self, backend: str) -> None:
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        handler = logging.FileHandler(backend.removeprefix("file://"))
        handler.setFormatter(JsonLines())
        self._listener = logging.handlers.QueueListener(records, handler)
        self._listener.start()
        self._logger = logging.getLogger("predictions")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(QueueHandler(records))

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._logger.info("prediction", extra={"key": key, "inputs": inputs, "outputs": outputs})

    def flush(self) -> None:
        # It has no flush: stopping is what waits.
        self._listener.stop()
        self._listener.start()
