"""The worker's log: one line per event on stderr, as key=value or JSON, however the worker was started."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


def configure_logging(level: int = logging.INFO, *, as_json: bool = False) -> None:
    """Set up our own lines from `level` on, and lines of arq and other libraries from warnings on. Each comes once.

    `as_json`: each line, also of a library, is one JSON object with `timestamp`, `level` and `event`.
    """
    begin: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        end: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        handler = logging.StreamHandler()
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(processors=[_of_library, *end], foreign_pre_chain=begin)
        )
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
    else:
        end = [structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])]
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[*begin, _without_nothing, *end],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class Quiet(logging.Filter):
    """Lets warnings through, and the lines of the functions named in `asked_for`; hides a library's other lines."""

    def __init__(self, *asked_for: str) -> None:
        super().__init__()
        self._asked_for = frozenset(asked_for)

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.funcName in self._asked_for


def _without_nothing(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the line without its empty values: `error=None` on every line would hide the lines with an error."""
    return {name: value for name, value in line.items() if not (value is None or value is False or value == {})}


def _of_library(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return a library's line with the name of its logger, and without the two keys that structlog adds."""
    record = line.pop("_record")
    line.pop("_from_structlog")
    return {**line, "logger": record.name}
