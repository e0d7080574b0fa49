"""The typed columns of an application, and their names. Pure.

A column has the name of its field. If two places have a field of this name, or if it is the name of a fixed column or
of a feedback field's `_at` or `_is_default`, the column gets a prefix for its place: `in_`, `out_`, `fb_`. Columns that
a view has already keep their names.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from .kinds import Kind

Place = Literal["inputs", "outputs", "feedback"]
Part = Literal["value", "at", "is_default"]
PLACES: tuple[Place, ...] = ("inputs", "outputs", "feedback")
PREFIXES: Mapping[Place, str] = {"inputs": "in_", "outputs": "out_", "feedback": "fb_"}

FIXED = ("join_key", "predicted_at", "version", "environment", "status", "sample_rate", "label_age_s")
"""The columns of every row before its typed ones. `label_age_s` is `feedback_delay_s`: how old the prediction was when
its first label came."""
OF_EXPORTS = ("age_s", "is_labelled")
"""Further columns of an export: how old the prediction was at its moment, and whether a label was known then."""
WEIGHT = "label_weight"
"""A further column of an export with --weights."""

NAME_BYTES_MAX = 63
"""Where PostgreSQL cuts a name. The other engines take longer names."""
_TAIL_BYTES = len("_is_default")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Field(Struct, frozen=True, order=True):
    """A field of one place. Without a key it is the whole value, which is not a JSON object then."""

    place: Place
    key: str | None


class Column(Struct, frozen=True):
    """One typed column. A feedback field has three."""

    name: str
    field: Field
    part: Part
    kind: Kind | Literal["time"]


def columns_of(kinds: Mapping[Field, Kind], known: Sequence[Column] = ()) -> list[Column]:
    """Return the columns of these fields: the known ones in their order, with their present kinds, then new ones."""
    names = dict.fromkeys({*FIXED, *OF_EXPORTS, WEIGHT} | {column.name.casefold() for column in known})
    kept = [_with_kind(column, kinds) for column in known]
    fields = sorted(
        kinds.keys() - {column.field for column in known},
        # Inputs, outputs, feedback; in each, the whole value first, then by key.
        key=lambda field: (PLACES.index(field.place), field.key or "", field.key is not None),
    )
    plain = Counter(_plain(field).casefold() for field in fields)
    further = {name.casefold() for field in fields for name in _names(field, _plain(field))[1:]}
    for field in fields:
        name = _plain(field)
        while (
            not name
            or plain[name.casefold()] > (name == _plain(field))
            or name.casefold() in further
            or any(own.casefold() in names for own in _names(field, name))
        ):
            name = _shortened(PREFIXES[field.place] + name, field)
        for column in _columns(field, name, kinds[field]):
            names[column.name.casefold()] = None
            kept.append(column)
    return kept


def _with_kind(column: Column, kinds: Mapping[Field, Kind]) -> Column:
    if column.part != "value" or column.field not in kinds:
        return column
    return Column(column.name, column.field, "value", kinds[column.field])


def _plain(field: Field) -> str:
    return _shortened(_UNPRINTABLE.sub("_", field.place if field.key is None else field.key), field)


def _shortened(name: str, field: Field) -> str:
    """Return a name that no engine cuts, with room for the suffixes of a feedback field's further columns."""
    room = NAME_BYTES_MAX - (_TAIL_BYTES if field.place == "feedback" else 0)
    if len(name.encode()) <= room:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return name.encode()[: room - 9].decode(errors="ignore") + "_" + digest


def _columns(field: Field, name: str, kind: Kind) -> Iterable[Column]:
    yield Column(name, field, "value", kind)
    if field.place == "feedback":
        yield Column(f"{name}_at", field, "at", "time")
        yield Column(f"{name}_is_default", field, "is_default", "bool")


def _names(field: Field, name: str) -> list[str]:
    return [column.name for column in _columns(field, name, "json")]
