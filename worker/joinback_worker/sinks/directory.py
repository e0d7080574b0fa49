"""A directory of files for pipelines: one file per batch, named by its content. The same batch again is the same file.

A file appears whole: it is written under another name, synced and renamed. docs/how-to/query.md shows the view that
folds the files.
"""

import fcntl
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import ClassVar, TypeAlias, TypeVar
from urllib.parse import unquote

from joinback.errors import ConfigurationError
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.rules import Policy

from .event_columns import EventColumns
from .event_log import Identity, Stored, content_id
from .merge_on_read import MergeOnRead
from .place import parts_of

LEFTOVER_S = 86_400
"""A part file this old is of a process that died: no disk is so slow that a batch takes a day."""

COMPACTED_BYTES = 64 << 20
"""A compaction leaves a file of this size alone: it holds in memory the files that it combines."""

COPY_ROWS = 1_000
"""Rows per batch of a copy: 1 MB of memory at 1 KB per event."""

Buffer: TypeAlias = bytes | memoryview
T = TypeVar("T")


class DirectorySink(MergeOnRead):
    """A sink of files. See `Sink` for what it keeps. A format fills in the abstract methods.

    A directory has no index, so `merge` looks up nothing: it reports joined, orphans and late feedback by what Redis
    holds, and only the view knows all. `get` reads every file.
    """

    suffix: ClassVar[str]
    """Of the files, without the dot."""
    looks_up = False
    emits_joined = False

    def __init__(self, directory: Path, policy: Policy) -> None:
        super().__init__(policy)
        self.directory = directory

    @abstractmethod
    def _encoded(self, events: EventColumns) -> Buffer:
        """Return the content of a file with these events."""

    @abstractmethod
    def _combined(self, paths: Sequence[Path]) -> tuple[set[Identity], Buffer]:
        """Return the rows of several files as one file, each row once; and the identities of the rows."""

    @abstractmethod
    def _without(self, path: Path, application: str, join_keys: frozenset[str]) -> tuple[int, set[Identity], Buffer]:
        """Return how many rows of a file are of these keys, the identities of its other rows, and those as a file.

        If no row is of these keys, the file is empty bytes.
        """

    @abstractmethod
    def _read(self, path: Path, application: str, join_keys: frozenset[str]) -> Iterable[Stored]:
        """Return the rows of these keys in one file."""

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise SinkUnavailable(
                f"sink directory {self.directory}: {error.strerror or 'unreadable'}; repair it, and the worker goes on"
            ) from error

    @abstractmethod
    def _all(self, path: Path) -> Iterator[tuple[str, Iterable[Stored]]]:
        """Yield (application, rows) of all rows of one file, in batches that fit into memory."""

    def _open(self) -> None:
        if self.read_only:
            if not self.directory.is_dir():
                raise SinkMissing(f"the sink {self.directory} does not exist yet")
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        left = {}
        for path in self.directory.glob(".*.part"):
            # Its writer may be renaming it at this moment.
            with suppress(FileNotFoundError):
                left[path] = path.stat().st_mtime
        if left:
            # Compare with the clock of the file system, which gave the part files their times: a young one may be one
            # that another worker is writing.
            with TemporaryFile(dir=self.directory) as file:
                now = os.fstat(file.fileno()).st_mtime
            for path in [path for path, time in left.items() if now - time > LEFTOVER_S]:
                path.unlink(missing_ok=True)

    def _close(self) -> None:
        pass

    def _append(self, events: EventColumns) -> None:
        self._appear(events.content_id, self._encoded(events))

    def _appear(self, name: str, content: Buffer) -> Path:
        """Write a file of this name, whole and durable, and return its path."""
        path = self.directory / f"{name}.{self.suffix}"
        part = path.with_name(f".{path.name}.{os.getpid()}-{id(self):x}.part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        with self._folder() as folder:
            os.fsync(folder)
        return path

    @contextmanager
    def _folder(self) -> Iterator[int]:
        """Open the directory, for its lock and for fsync."""
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _rewriting(self) -> Iterator[None]:
        """Hold the lock that a compaction and an erasure need, so that neither writes back what the other deletes.

        A writer that appends does not need it.
        """
        with self._folder() as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
            os.fsync(folder)

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        wanted = frozenset(join_keys)
        erased = 0
        with self._rewriting():
            for path in sorted(self.directory.glob(f"*.{self.suffix}")):
                number, others, content = self._without(path, application, wanted)
                if number:
                    if others:
                        self._appear(content_id(others), content)
                    path.unlink()
                erased += number
        return erased

    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterator[Stored]:
        wanted = frozenset(join_keys)
        for path in sorted(self.directory.glob(f"*.{self.suffix}")):
            yield from self._read(path, application, wanted)

    def _everything(self, application: str | None) -> Iterator[tuple[str, Iterable[Stored]]]:
        for path in sorted(self.directory.glob(f"*.{self.suffix}")):
            for name, rows in self._all(path):
                if application in (None, name):
                    yield name, rows

    def _try_rights(self) -> None:
        self._appear(".joinback-check", b"").unlink()

    def compact(self) -> str:
        """Combine small files, then delete them. Return one line on what was done. Raises SinkUnavailable.

        Between the two steps, or if the process dies there, the directory holds the rows twice. The view counts them
        once.
        """
        return self._translated(self._compact)

    def _compact(self) -> str:
        removed = added = 0
        with self._rewriting():
            for group in self._small_files():
                identities, content = self._combined(group)
                combined = self._appear(content_id(identities), content)
                added += 1
                for path in set(group) - {combined}:
                    path.unlink()
                    removed += 1
        return f"{removed} files became {added}"

    def _small_files(self) -> Iterator[list[Path]]:
        group: list[Path] = []
        for path in sorted(self.directory.glob(f"*.{self.suffix}"), key=lambda path: path.stat().st_mtime):
            if path.stat().st_size >= COMPACTED_BYTES:
                continue
            group.append(path)
            if sum(path.stat().st_size for path in group) >= COMPACTED_BYTES:
                yield group
                group = []
        if len(group) > 1:
            yield group


def directory_of(url: str) -> Path:
    """Return the path of `<scheme>:///relative` or `<scheme>:////absolute`. Raises ConfigurationError."""
    parts = parts_of(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or parts.query:
        example = f"{parts.scheme}:///joinback, or {parts.scheme}:////var/lib/joinback"
        raise ConfigurationError(f"JOINBACK_SINK_URL names no directory; write {example}")
    return Path(path)
