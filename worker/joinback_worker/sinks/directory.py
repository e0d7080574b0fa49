"""A directory of files, a batch each, for pipelines: named by its content, so the same batch again is the same file.

A file appears whole: it is written beside, synced, and renamed. See docs/how-to/query.md for the view that folds them.
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
"""A file half written so long ago is of a process that died; a slow disk is not that slow."""

COMPACTED_BYTES = 64 << 20
"""A file this large is left alone: readers go through it in parts, and a compaction holds a few in memory."""

COPY_ROWS = 1_000
"""Of a batch that is copied elsewhere: at 1 KB an event it is 1 MB of memory, and as much as a drain's chunk."""

Buffer: TypeAlias = bytes | memoryview
T = TypeVar("T")


class DirectorySink(MergeOnRead):
    """See `Sink` for the promise. A format fills in `_encoded` and `_read`.

    Nothing is looked up for a batch: the directory has no index. So `merge` tells joined, orphan and late by
    what Redis holds; the view knows better. `get` reads every file.
    """

    suffix: ClassVar[str]
    looks_up = False
    emits_joined = False

    def __init__(self, directory: Path, policy: Policy) -> None:
        super().__init__(policy)
        self.directory = directory

    @abstractmethod
    def _encoded(self, events: EventColumns) -> Buffer:
        """A whole file of these events."""

    @abstractmethod
    def _combined(self, paths: Sequence[Path]) -> tuple[set[Identity], Buffer]:
        """One file of the rows of several, each once."""

    @abstractmethod
    def _without(self, path: Path, application: str, join_keys: frozenset[str]) -> tuple[int, set[Identity], Buffer]:
        """How many rows of a file are of these keys; if there are any, the file's other rows, and a file of those."""

    @abstractmethod
    def _read(self, path: Path, application: str, join_keys: frozenset[str]) -> Iterable[Stored]:
        """The rows of these keys in one file."""

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise SinkUnavailable(
                f"sink directory {self.directory}: {error.strerror or 'unreadable'}; mend it, and the worker goes on"
            ) from error

    @abstractmethod
    def _all(self, path: Path) -> Iterator[tuple[str, Iterable[Stored]]]:
        """All rows of one file, in bounded batches of one application each."""

    def _open(self) -> None:
        if self.read_only:
            if not self.directory.is_dir():
                raise SinkMissing(f"the sink {self.directory} does not exist yet")
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        left = {}
        for path in self.directory.glob(".*.part"):
            # It may get its name just now.
            with suppress(FileNotFoundError):
                left[path] = path.stat().st_mtime
        if left:
            # By the clock that gave them their times: another worker may be writing one at this moment.
            with TemporaryFile(dir=self.directory) as file:
                now = os.fstat(file.fileno()).st_mtime
            for path in [path for path, time in left.items() if now - time > LEFTOVER_S]:
                path.unlink(missing_ok=True)

    def _close(self) -> None:
        pass

    def _append(self, events: EventColumns) -> None:
        self._appear(events.content_id, self._encoded(events))

    def _appear(self, name: str, content: Buffer) -> Path:
        """Make a file of this name, whole and durable."""
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
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _rewriting(self) -> Iterator[None]:
        """One at a time: a compaction would write anew what an erasure took out. Who appends need not wait."""
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
        """Combine small files, then delete them. Returns what was done. Raises SinkUnavailable.

        In between their rows stand there twice, which changes nothing; a process that dies leaves it so.
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
    """The path of `<scheme>:///relative` or `<scheme>:////absolute`. Raises ConfigurationError."""
    parts = parts_of(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or parts.query:
        example = f"{parts.scheme}:///joinback, or {parts.scheme}:////var/lib/joinback"
        raise ConfigurationError(f"JOINBACK_SINK_URL names no directory; write {example}")
    return Path(path)
