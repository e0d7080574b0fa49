"""The JSON Lines sink: `jsonl:///directory`. One event a line, its JSON as it was logged."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from joinback.settings import Settings
from joinback_worker.errors import SinkUnavailable
from joinback_worker.rules import Policy

from . import Sink, lake_view
from .directory import COPY_ROWS, DirectorySink, directory_of
from .event_log import EventRow, Identity, Stored

_JSON = frozenset({"tags", "event", "inputs", "outputs"})


def open_url(url: str, policy: Policy) -> Sink:
    return JsonLinesSink(directory_of(url), policy)


def schema(url: str, settings: Settings) -> str:
    """The view for DuckDB; the directory makes itself."""
    return lake_view.view(lake_view.jsonl_source(directory_of(url).absolute()), settings)


class _Line(Struct):
    """What is read back of a line."""

    application: str
    join_key: str
    kind: str
    event_id: str
    digest: int
    event: Raw
    # Empty where the line has none: `Raw | None` would decode only null.
    inputs: Raw = Raw()
    outputs: Raw = Raw()
    sample_rate: float | None = None


class JsonLinesSink(DirectorySink):
    suffix = "jsonl"

    def _encoded(self, rows: Sequence[EventRow]) -> bytes:
        return b"".join([one_line(msgspec.json.encode(_line(row))) for row in rows])

    def _combined(self, paths: Sequence[Path]) -> tuple[set[Identity], bytes]:
        # Of a repeated event the line written last, so that `updated_at` stays.
        lines: dict[Identity, bytes] = {}
        for path in paths:
            for text, line in _lines(path):
                lines[(line.application, line.join_key, line.kind, line.event_id, line.digest)] = text
        return set(lines), b"".join(lines.values())

    def _all(self, path: Path) -> Iterator[tuple[str, Iterable[Stored]]]:
        lines = (line for _, line in _lines(path))
        while part := list(islice(lines, COPY_ROWS)):
            part.sort(key=attrgetter("application"))
            for application, some in groupby(part, attrgetter("application")):
                yield application, map(_stored, some)

    def _read(self, path: Path, application: str, join_keys: frozenset[str]) -> Iterable[Stored]:
        for _, line in _lines(path):
            if line.application == application and line.join_key in join_keys:
                yield _stored(line)


def one_line(encoded: bytes) -> bytes:
    """JSON with its line feed. What producers wrote is carried through as it is, and may stand in several lines."""
    if b"\n" in encoded or b"\r" in encoded:
        encoded = msgspec.json.format(encoded, indent=-1)
    return encoded + b"\n"


def _lines(path: Path) -> Iterator[tuple[bytes, _Line]]:
    try:
        with path.open("rb") as file:
            for text in file:
                yield text, msgspec.json.decode(text, type=_Line)
    except msgspec.MsgspecError as error:
        raise SinkUnavailable(f"sink file {path} holds a line that is no event of ours; move it away") from error


def _line(row: EventRow) -> dict[str, Any]:
    line: dict[str, Any] = {name: value for name, value in structs.asdict(row).items() if value is not None}
    for name in _JSON & line.keys():
        line[name] = Raw(line[name].encode())
    line["field_values"] = [Raw(value.encode()) for value in row.field_values]
    return line


def _stored(line: _Line) -> Stored:
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
    return JsonLinesSink(directory_of(url), Policy()).compact()
