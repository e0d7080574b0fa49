"""A file of JSON with one object per line, read by msgspec. A line that is not a JSON object is one refused row.

Blank lines are not counted.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from joinback.errors import JoinbackError

from .files import opened
from .lines import BATCH_LINES, Line, one_line

LINE_BYTES_MAX = 4 << 20
"""Four times what an event may hold. A longer line means that the file is not JSON Lines."""
_LINES_WITH_COLUMNS = 1_000
"""The keys of the first lines are the columns. A column that none of them has is taken for a typing mistake."""


class JsonLines:
    """See `Source`. If an object lacks a key, its cell is missing."""

    is_typed = True

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        if not self.columns():
            raise JoinbackError(f"{self.name} is empty, or its first lines hold no JSON object")

    def columns(self) -> Sequence[str]:
        names: dict[str, None] = {}
        for _, found in islice(self._objects(), _LINES_WITH_COLUMNS):
            if isinstance(found, dict):
                names |= dict.fromkeys(found)
        return list(names)

    def doubts(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        pass

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        lines: list[Line] = []
        for row, found in self._objects():
            if isinstance(found, dict):
                lines.append(Line(row, [found.get(name) for name in wanted]))
            else:
                lines.append(Line(row, (), found if isinstance(found, str) else "not a JSON object"))
            if len(lines) == BATCH_LINES:
                yield lines
                lines = []
        if lines:
            yield lines

    def _objects(self) -> Iterator[tuple[int, Any]]:
        """Yield of each line its number, and its object; None if it is not an object, a text if it is not JSON."""
        decode = msgspec.json.Decoder().decode
        row = 0
        try:
            with closing(opened(self._path)) as file:
                while line := file.readline(LINE_BYTES_MAX):
                    if len(line) == LINE_BYTES_MAX:
                        raise JoinbackError(
                            f"{self.name} has a line of more than {LINE_BYTES_MAX >> 20} MiB; write one object per line"
                        )
                    line = line.removeprefix(b"\xef\xbb\xbf").strip()
                    if not line:
                        continue
                    row += 1
                    try:
                        found = decode(line)
                        yield row, found if isinstance(found, dict) else None
                    except (ValueError, RecursionError) as error:
                        yield row, f"not JSON: {one_line(error)}"
        except (OSError, EOFError, zlib.error) as error:
            raise JoinbackError(f"{self.name} cannot be read: {one_line(error)}") from None
