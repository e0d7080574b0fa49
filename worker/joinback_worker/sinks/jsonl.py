"""The JSON Lines sink: `jsonl:///directory`. One event per line, with its JSON as it was logged."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from joinback import wire
from joinback.settings import Settings
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.rules import Policy

from . import Sink, lake_view
from .directory import COPY_ROWS, Buffer, DirectorySink, directory_of
from .event_columns import EventColumns
from .event_log import Identity, Stored
from .json_line import one_line

_ENCODER = msgspec.json.Encoder()


def open_url(url: str, policy: Policy) -> Sink:
    """Return the sink of `jsonl:///relative` or `jsonl:////absolute`."""
    return JsonLinesSink(directory_of(url), policy)


def schema(url: str, settings: Settings) -> str:
    """Return the view for DuckDB. The worker creates the directory itself."""
    return lake_view.view(lake_view.jsonl_source(directory_of(url).absolute()), settings)


class _Line(Struct, omit_defaults=True, gc=False):
    """A line as it is written. It holds a column of JSON as JSON, not as text, and leaves out None."""

    application: str
    join_key: str
    kind: str
    event_id: str
    digest: int
    ordered_at_us: int
    event_at: datetime
    logged_at: datetime
    version: str | None = None
    environment: str | None = None
    tags: dict[str, Raw] | None = None
    event: wire.Event | Raw | None = None
    inputs: Raw | None = None
    outputs: Raw | None = None
    sample_rate: float | None = None
    fields: list[str] | None = None
    field_values: list[Raw] | None = None
    all_fields: bool | None = None
    written_at: datetime | None = None


class _Read(Struct):
    """The members of a line that are read back."""

    application: str
    join_key: str
    kind: str
    event_id: str
    digest: int
    event: Raw
    # Empty if the line has none: `Raw | None` would decode only null.
    inputs: Raw = Raw()
    outputs: Raw = Raw()
    sample_rate: float | None = None


class JsonLinesSink(DirectorySink):
    suffix = "jsonl"

    def _encoded(self, events: EventColumns) -> Buffer:
        lines = _ENCODER.encode_lines(_lines_of(events))
        if lines.count(b"\n") == len(events) and b"\r" not in lines:
            return lines
        return b"".join([one_line(line) for line in map(_ENCODER.encode, _lines_of(events))])

    def _combined(self, paths: Sequence[Path]) -> tuple[set[Identity], Buffer]:
        # Of a repeated event keep the line that was written last, so that `updated_at` stays.
        lines: dict[Identity, bytes] = {}
        for path in paths:
            for text, line in _lines(path):
                lines[_identity(line)] = text
        return set(lines), b"".join(lines.values())

    def _all(self, path: Path) -> Iterator[tuple[str, Iterable[Stored]]]:
        lines = (line for _, line in _lines(path))
        while part := list(islice(lines, COPY_ROWS)):
            part.sort(key=attrgetter("application"))
            for application, some in groupby(part, attrgetter("application")):
                yield application, map(_stored, some)

    def _without(self, path: Path, application: str, join_keys: frozenset[str]) -> tuple[int, set[Identity], Buffer]:
        number, identities, others = 0, set(), []
        for text, line in _lines(path):
            if line.application == application and line.join_key in join_keys:
                number += 1
            else:
                identities.add(_identity(line))
                others.append(text)
        return number, identities, b"".join(others) if number else b""

    def _read(self, path: Path, application: str, join_keys: frozenset[str]) -> Iterable[Stored]:
        for _, line in _lines(path):
            if line.application == application and line.join_key in join_keys:
                yield _stored(line)


def _lines(path: Path) -> Iterator[tuple[bytes, _Read]]:
    try:
        with path.open("rb") as file:
            for text in file:
                yield text, msgspec.json.decode(text, type=_Read)
    except msgspec.MsgspecError as error:
        raise SinkUnavailable(
            f"sink file {path} holds a line that is not an event of a worker; move the file elsewhere"
        ) from error


def _lines_of(events: EventColumns) -> Iterator[_Line]:
    return map(
        _Line,
        events.application,
        events.join_key,
        events.kind,
        events.event_id,
        events.digest,
        events.ordered_at_us,
        events.event_at,
        events.logged_at,
        events.version,
        events.environment,
        [event.tags or None for event in events.events],
        map(Raw, events.event_encoded),
        events.of_predictions(event.inputs for event in events.predictions),
        events.of_predictions(event.outputs for event in events.predictions),
        events.sample_rate,
        events.fields,
        events.of_feedback(list(event.feedback.values()) for event in events.feedback),
        events.all_fields,
        events.written_at,
    )


def _identity(line: _Read) -> Identity:
    return line.application, line.join_key, line.kind, line.event_id, line.digest


def _stored(line: _Read) -> Stored:
    return Stored(
        line.join_key,
        line.kind,
        line.event_id,
        line.digest,
        bytes(line.event).decode(),
        bytes(line.inputs).decode() or None,
        bytes(line.outputs).decode() or None,
        line.sample_rate,
    )


def compact(url: str) -> str:
    """As `DirectorySink.compact`."""
    return JsonLinesSink(directory_of(url), Policy()).compact()
