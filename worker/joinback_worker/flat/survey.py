"""Which fields rows hold, and of which kinds. What joinback.toml declares overrides what is seen."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Raw

from joinback_worker.law.reduce import Reducer
from joinback_worker.law.row import Row
from joinback_worker.law.rules import FieldRules, Rules

from .columns import Field, Place
from .kinds import Kind, joined, kind_of, value_of

FIELDS_MAX = 10_000
"""Fields per application. A model has hundreds of inputs; names that are made of data would never end."""

_NULL = Raw(b"null")
_NOTHING: Mapping[str | None, Kind] = {}
_OF_REDUCER: Mapping[Reducer, Kind] = {"count": "int", "mean": "float"}


def cells_of(cell: bytes | None) -> Mapping[str | None, Raw]:
    """Return the fields of one JSON column with their values. A value that is not an object is a field without key."""
    if cell is None:
        return {}
    if cell.lstrip()[:1] == b"{":
        fields: Mapping[str | None, Raw] = msgspec.json.decode(cell, type=dict[str, Raw])
        return fields
    return {None: Raw(cell.strip())}


class Survey:
    """The fields and kinds of rows, learned row by row."""

    def __init__(self, rules: Rules, fields_max: int = FIELDS_MAX) -> None:
        self._fields_left = fields_max
        self._declared: dict[str | None, Kind] = {
            name: kind for name, rule in rules.feedback.items() if (kind := _declared(rule))
        }
        self._found: dict[Place, dict[str | None, Kind | None]] = {
            "inputs": {}, "outputs": {}, "feedback": dict.fromkeys(rules.feedback),
        }  # fmt: skip
        self.left_out = 0
        """Values in fields beyond `fields_max`."""
        self.misfits: dict[str, int] = {}
        """By feedback field with a declared kind: values of another kind. They are NULL in its column."""
        self.rows = 0

    def add(self, row: Row) -> None:
        """Learn from the inputs, outputs and feedback of a row."""
        self.rows += 1
        self._look(self._found["inputs"], row.inputs)
        self._look(self._found["outputs"], row.outputs)
        self._look(self._found["feedback"], row.feedback, self._declared)

    def _look(
        self, found: dict[str | None, Kind | None], cell: bytes | None, declared: Mapping[str | None, Kind] = _NOTHING
    ) -> None:
        for key, value in cells_of(cell).items():
            if (kind := declared.get(key)) is not None:
                if value != _NULL and value_of(bytes(value), kind) is None:
                    self.misfits[str(key)] = self.misfits.get(str(key), 0) + 1
            elif key not in found and not self._fields_left:
                self.left_out += 1
            else:
                if key not in found:
                    self._fields_left -= 1
                before = found.get(key)
                if before != "json":
                    found[key] = joined(before, kind_of(bytes(value)))

    @property
    def unseen(self) -> set[Field]:
        """The fields without a declared kind of which no value was seen."""
        return {field for field, kind in self._fields() if kind is None and field not in self.declared}

    @property
    def declared(self) -> set[Field]:
        """The fields whose kind is declared."""
        return {Field("feedback", name) for name in self._declared}

    @property
    def kinds(self) -> dict[Field, Kind]:
        """The kind of each field. A field of which only null was seen is `json`."""
        declared = {Field("feedback", name): kind for name, kind in self._declared.items()}
        return {field: declared.get(field) or kind or "json" for field, kind in self._fields()}

    def _fields(self) -> Iterator[tuple[Field, Kind | None]]:
        for place, found in self._found.items():
            for key, kind in found.items():
                yield Field(place, key), kind


def _declared(rules: FieldRules) -> Kind | None:
    """Return the kind of a feedback field's values after its reducer; None if the declaration leaves it open."""
    if rules.reducer in _OF_REDUCER:
        return _OF_REDUCER[rules.reducer]
    if rules.reducer in ("sum", "min", "max") and rules.scalar == "bool":
        return "int"
    return rules.scalar
