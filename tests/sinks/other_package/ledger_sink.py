"""A sink as a company may ship it: `ledger:///file`, one file to which the events of each batch are appended."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.rules import Policy
from joinback_worker.sinks.event_columns import EventColumns
from joinback_worker.sinks.event_log import Stored
from joinback_worker.sinks.merge_on_read import MergeOnRead

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> "LedgerSink":
    return LedgerSink(Path(urlsplit(url).path), policy)


def schema(url: str, settings: Settings) -> str:
    return "-- a ledger makes itself"


def place(url: str) -> tuple[str, ...]:
    return "ledger", urlsplit(url).path


class LedgerSink(MergeOnRead):
    looks_up = False

    def __init__(self, path: Path, policy: Policy) -> None:
        super().__init__(policy)
        self._path = path

    def _open(self) -> None:
        if self.read_only and not self._path.exists():
            raise SinkMissing(f"the ledger {self._path} does not exist yet")

    def _close(self) -> None:
        pass

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise SinkUnavailable(f"ledger {self._path}: {error.strerror}; mend it, and the worker goes on") from error

    def _append(self, events: EventColumns) -> None:
        names = ("application", *Stored._fields)
        rows = zip(*(getattr(events, name) for name in names), strict=True)
        with self._path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> Iterator[tuple[str, Stored]]:
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                application, *stored = msgspec.json.decode(line)
                yield application, Stored(*stored)

    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterator[Stored]:
        return (row for name, row in self._lines() if name == application and row.join_key in join_keys)

    def _everything(self, application: str | None) -> Iterator[tuple[str, list[Stored]]]:
        for name, lines in groupby(sorted(self._lines()), key=lambda line: line[0]):
            if application in (None, name):
                yield name, [row for _, row in lines]

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        kept, gone = [], 0
        for line in self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else ():
            name, join_key, *_ = msgspec.json.decode(line)
            is_erased = name == application and join_key in join_keys
            gone += is_erased
            kept += [] if is_erased else [line]
        if gone:
            part = self._path.with_suffix(".part")
            part.write_bytes(b"".join(kept))
            part.replace(self._path)
        return gone
