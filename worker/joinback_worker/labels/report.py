"""What became of each line: counts that add up, the first lines of each kind, and all of them in a file if asked."""

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import msgspec
from msgspec import Struct

from joinback.errors import JoinbackError

from .near import Hint

LISTED_MAX = 10
"""Of each kind on a screen; a habit shows in fewer, and --report has all."""

What = Literal["refused", "unmatched", "taken_back", "not_sampled"]


class Entry(Struct, frozen=True, omit_defaults=True):
    """One line that did not become a label, as --report writes it."""

    row: int
    what: What
    why: str
    join_key: str | None = None


class Report(Struct, kw_only=True):
    """`rows = matched + unmatched + not_sampled + already_told + taken_back + refused + without_a_label`."""

    rows: int = 0
    matched: int = 0
    unmatched: int = 0
    already_told: int = 0
    taken_back: int = 0
    """Labels that a retraction covers, so that to tell them changes nothing."""
    refused: int = 0
    without_a_label: int = 0
    told: int = 0
    """Labels that Redis has now: the matched, and with --orphans the unmatched."""
    not_sampled: int = 0
    """Labels whose predictions were never logged, by the published sample rate."""
    before_prediction: int = 0
    """Of the matched, those whose time is before their prediction's."""
    listed: list[Entry] = []
    hints: list[Hint] = []

    @property
    def is_complete(self) -> bool:
        """Whether every label of a sampled prediction has found it, and counts."""
        return not self.refused and not self.unmatched and not self.taken_back


class ReportFile:
    """Where each entry is written, if anywhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = self._path.open("wb")
            except OSError as error:
                raise JoinbackError(f"--report {self._path} cannot be written: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, entry: Entry) -> None:
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(entry) + b"\n")
        except OSError as error:
            raise JoinbackError(f"--report {self._path} cannot be written: {error.strerror}") from None


def as_json(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found
