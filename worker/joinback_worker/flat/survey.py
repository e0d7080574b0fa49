"""Which fields rows hold, and of what kinds; what joinback.toml declares comes first."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Raw

from joinback_worker.reduce import Reducer
from joinback_worker.row import Row
from joinback_worker.rules import FieldRules, Rules

from .columns import Field, Place
from .kinds import Kind, joined, kind_of, value_of

FIELDS_MAX = 10_000
"""Of an application: a model has hundreds of inputs; names made of data would be without end."""

_OF_REDUCER: Mapping[Reducer, Kind] = {"count": "int", "mean": "float"}


def cells_of(place: Place, cell: bytes | None) -> Iterator[tuple[Field, bytes]]:
    """Yield the fields of one JSON column and their values' JSON; what is no object is one field without a key."""
    if cell is None:
        return
    if cell.lstrip()[:1] == b"{":
        for key, raw in msgspec.json.decode(cell, type=dict[str, Raw]).items():
            yield Field(place, key), bytes(raw)
    else:
        yield Field(place, None), cell.strip()


class Survey:
    """What rows hold, told row by row."""

    def __init__(self, rules: Rules, fields_max: int = FIELDS_MAX) -> None:
        self._fields_max = fields_max
        self._declared = {
            Field("feedback", name): kind for name, rule in rules.feedback.items() if (kind := _declared(rule))
        }
        self._found: dict[Field, Kind | None] = {Field("feedback", name): None for name in rules.feedback}
        self.left_out = 0
        """Fields beyond what is kept, however often they were seen."""
        self.misfits: dict[str, int] = {}
        """Of a feedback field that is declared: values of another kind, which are NULL in its column."""
        self.rows = 0

    def add(self, row: Row) -> None:
        """Look at a row's inputs, outputs and feedback."""
        self.rows += 1
        cells: tuple[tuple[Place, bytes | None], ...] = (
            ("inputs", row.inputs),
            ("outputs", row.outputs),
            ("feedback", row.feedback),
        )
        for place, cell in cells:
            for field, raw in cells_of(place, cell):
                self._see(field, raw)

    def _see(self, field: Field, raw: bytes) -> None:
        if (declared := self._declared.get(field)) is not None:
            if raw != b"null" and value_of(raw, declared) is None:
                self.misfits[str(field.key)] = self.misfits.get(str(field.key), 0) + 1
        elif field in self._found:
            if self._found[field] != "json":
                self._found[field] = joined(self._found[field], kind_of(raw))
        elif len(self._found) < self._fields_max:
            self._found[field] = kind_of(raw)
        else:
            self.left_out += 1

    @property
    def unseen(self) -> set[Field]:
        """The fields of which no value was seen, and none is declared."""
        return {field for field, kind in self._found.items() if kind is None and field not in self._declared}

    @property
    def declared(self) -> set[Field]:
        """The fields whose kind is declared."""
        return set(self._declared)

    @property
    def kinds(self) -> dict[Field, Kind]:
        """The kind of each field; one of which only null was seen is `json`."""
        return {field: self._declared.get(field) or kind or "json" for field, kind in self._found.items()}


def _declared(rules: FieldRules) -> Kind | None:
    """The kind of a feedback field's values after its reducer; None where the declaration leaves it open."""
    if rules.reducer in _OF_REDUCER:
        return _OF_REDUCER[rules.reducer]
    if rules.reducer in ("sum", "min", "max") and rules.scalar == "bool":
        return "int"
    return rules.scalar
