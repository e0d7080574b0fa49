"""Many records at once: lists, frames, series and arrays, each as one Python value a record.

| a column | the value of its n-th record |
| --- | --- |
| list, tuple, any other Sequence but text | its n-th item |
| DataFrame (pandas, polars) | its n-th row, as a dict of its columns |
| Series or Index with a name (pandas, polars) | a dict of one field, the name; for join keys and times the value |
| Series or Index without a name | its n-th value; a dict in a Series stands for itself, whatever its name |
| numpy array, tensor, or what else has `tolist` | its n-th value or, in two dimensions, its n-th row as a list |

pandas and the others are never imported: their objects are known by what they offer. A missing value (NaN,
NaT, NA) is a null inside inputs, outputs and feedback, by the rules in `joinback.values`; as a join key or a time
it is one that was not given.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from .events import Refused


class Table(Protocol):
    """A DataFrame, a Series, an Index or an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...


Column: TypeAlias = Sequence[Any] | Table


def records(
    payloads: Mapping[str, Column | None], scalars: Mapping[str, Column | None], unnamed: str | None = None
) -> Iterator[dict[str, Any]]:
    """One dict a record, of the columns that are not None.

    `payloads` are what a caller logs, `scalars` its join keys and times. `unnamed` is the field for the values
    of a Series without a name. Raises Refused if a column is none, or if their lengths differ, before the
    first record.
    """
    given: dict[str, Sequence[Any]] = {}
    for name, column in payloads.items():
        if column is not None:
            given[name] = _payloads(column, name, unnamed)
    for name, column in scalars.items():
        if column is not None:
            given[name] = [None if _is_missing(value) else value for value in _values(column, name)]
    lengths = {name: len(column) for name, column in given.items()}
    if len(set(lengths.values())) > 1:
        raise Refused("invalid", f"columns of different lengths: {lengths}")
    return (dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True))


def _payloads(column: Any, name: str, unnamed: str | None) -> Sequence[Any]:
    # polars; its to_dict is by column.
    if callable(to_dicts := getattr(column, "to_dicts", None)):
        rows: Sequence[Any] = to_dicts()
        return rows
    labels = getattr(column, "columns", None)
    if labels is not None and callable(to_dict := getattr(column, "to_dict", None)):
        if len(set(labels)) < len(labels):
            # pandas would leave out all but one of them.
            raise Refused("invalid", f"{name} has several columns of one name: {sorted(map(str, labels))}")
        rows = to_dict("records")
        return rows
    values = _values(column, name)
    if not _is_series(column):
        return values
    # "" is how polars says that there is none.
    label = unnamed if column.name in (None, "") else column.name
    return values if label is None else [v if isinstance(v, Mapping) else {label: v} for v in values]


def _values(column: Any, name: str) -> Sequence[Any]:
    if isinstance(column, list | tuple):
        return column
    if getattr(column, "shape", None) != ():
        if getattr(getattr(column, "dtype", None), "kind", "") == "M" and not _is_series(column):
            # Nanoseconds would come out as numbers.
            column = column.astype("M8[us]")
        for convert in (getattr(column, "to_list", None), getattr(column, "tolist", None)):
            if callable(convert):
                values: Sequence[Any] = convert()
                return values
        if isinstance(column, Sequence) and not isinstance(column, str | bytes | bytearray):
            return column
    kinds = "a list, a DataFrame, a Series or an array"
    raise Refused("invalid", f"{name} must be {kinds}, one item a record, not {type(column).__name__}")


def _is_series(column: Any) -> bool:
    return callable(getattr(column, "to_list", None)) and hasattr(column, "name")


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value)
