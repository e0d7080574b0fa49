"""A file of JSON, one object a line, each read by msgspec: a line that is none is one refused row.

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
"""Four times what an event may hold: what is longer is no line."""
_LOOKED_AT = 1_000
"""Lines whose keys are the columns; of a column that none of them has, nobody can tell a typing mistake."""


class JsonLines:
    """See `Source`. A key that an object has not is a missing cell."""

    is_typed = True

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        if not self.columns():
            raise JoinbackError(f"{self.name} is empty, or no line of it is a JSON object")

    def columns(self) -> Sequence[str]:
        names: dict[str, None] = {}
        for _, found in islice(self._objects(), _LOOKED_AT):
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
                lines.append(Line(row, (), found if isinstance(found, str) else "no JSON object"))
            if len(lines) == BATCH_LINES:
                yield lines
                lines = []
        if lines:
            yield lines

    def _objects(self) -> Iterator[tuple[int, Any]]:
        """Each line's number and what it holds; text says why it cannot be read."""
        decode = msgspec.json.Decoder().decode
        row = 0
        try:
            with closing(opened(self._path)) as file:
                while line := file.readline(LINE_BYTES_MAX):
                    if len(line) == LINE_BYTES_MAX:
                        raise JoinbackError(
                            f"{self.name} has a line of more than {LINE_BYTES_MAX >> 20} MiB; write one object a line"
                        )
                    line = line.removeprefix(b"\xef\xbb\xbf").strip()
                    if not line:
                        continue
                    row += 1
                    try:
                        found = decode(line)
                        yield row, found if isinstance(found, dict) else None
                    except (ValueError, RecursionError) as error:
                        yield row, f"no JSON: {one_line(error)}"
        except (OSError, EOFError, zlib.error) as error:
            raise JoinbackError(f"{self.name} cannot be read: {one_line(error)}") from None
