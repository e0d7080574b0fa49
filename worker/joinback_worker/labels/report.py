"""What became of each line: counts that add up, the first lines of each kind, and all lines in a file of --report."""

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import msgspec
from msgspec import Struct

from joinback.errors import JoinbackError

from .near import Hint

LISTED_MAX = 10
"""Lines of each kind on the screen: enough to see a repeated mistake. --report has all."""

What = Literal["refused", "unmatched", "taken_back", "erased", "not_sampled"]


class Entry(Struct, frozen=True, omit_defaults=True):
    """One line that was not sent, as --report writes it."""

    row: int
    what: What
    why: str
    join_key: str | None = None


class Report(Struct, kw_only=True):
    """`rows = matched + unmatched + not_sampled + already_told + taken_back + erased + refused + without_a_label`."""

    rows: int = 0
    matched: int = 0
    unmatched: int = 0
    already_told: int = 0
    taken_back: int = 0
    """Labels that a retraction covers, so that sending them would change nothing."""
    erased: int = 0
    """Labels of erased keys, which the next drain would delete."""
    refused: int = 0
    without_a_label: int = 0
    told: int = 0
    """Labels that were sent, and that Redis has: the matched ones, and with --orphans the unmatched ones."""
    not_sampled: int = 0
    """Labels whose predictions were never logged, by the published sample rate."""
    before_prediction: int = 0
    """Matched labels whose time is before the time of their prediction."""
    listed: list[Entry] = []
    hints: list[Hint] = []

    @property
    def is_complete(self) -> bool:
        """Whether every label of a sampled prediction found its prediction, and counts."""
        return not (self.refused or self.unmatched or self.taken_back or self.erased)


class ReportFile:
    """The file of --report; without a path it writes nothing."""

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
        """Write one entry as a line of JSON. Raises JoinbackError."""
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(entry) + b"\n")
        except OSError as error:
            raise JoinbackError(f"--report {self._path} cannot be written: {error.strerror}") from None


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as a JSON object."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found
