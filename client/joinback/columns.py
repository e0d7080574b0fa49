"""Columns of many records: lists, frames, series and arrays, read as one Python value per record.

| a column | the value of its n-th record |
| --- | --- |
| list, tuple, any other Sequence but text | its n-th item |
| DataFrame (pandas, polars), Table or RecordBatch (pyarrow), structured array (numpy) | its n-th row, as a dict |
| Series or Index with a name (pandas, polars) | a dict with the name as its field; the value alone for keys, times |
| Series or Index without a name | its n-th value |
| Series of dicts | its n-th dict, with or without a name |
| numpy or pyarrow array, tensor, anything else with `tolist` | its n-th value; in two dimensions a row, as a list |

Columns belong together by position. Columns of pandas that share an index in different orders are refused.

pandas and the others are never imported: their objects are recognised by their attributes. `joinback.cells` says what a
cell means.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from .cells import is_gap, is_missing
from .drops import NotLogged


class Table(Protocol):
    """A DataFrame, a Series, an Index or an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...


class ArrowArray(Protocol):
    """An array of pyarrow, which has no shape."""

    def to_pylist(self) -> list[Any]: ...

    def __len__(self) -> int: ...


Column: TypeAlias = Sequence[Any] | Table | ArrowArray


class Values(NamedTuple):
    """A column as Python values.

    `of_rows`: each value is a dict made from a row of a table. `of_cells`: each value is a cell of a table, so a None
    is a missing one. Neither: the caller made the values.
    """

    items: Sequence[Any]
    of_rows: bool = False
    of_cells: bool = False
    name: Any = None


def plain(column: Any, name: str) -> Sequence[Any]:
    """Return the values of a column of keys, times and the like. Raises NotLogged for what cannot be such a column."""
    values = _read(column, name)
    if values.of_rows:
        raise NotLogged("invalid", f"{name} is a whole {type(column).__name__}; give one column of it")
    if str(getattr(column, "dtype", "")).lower() in ("float16", "float32"):
        # A key beyond 2**24 has lost its last digits, and still looks whole.
        raise NotLogged("invalid", f"{name} is {column.dtype}, which has lost digits; read it as Int64 or text")
    return values.items


def features(column: Any, name: str, unnamed: str | None = None) -> Sequence[Any]:
    """Return the values of a column of inputs or outputs. A missing cell becomes null.

    `unnamed` is the field for the values of a Series without a name. Raises NotLogged for what cannot be a column.
    """
    values = _read(column, name)
    if not values.of_cells:
        return values.items
    label = values.name if values.name is not None or not _is_series(column) else unnamed
    if label is None:
        # NaN becomes null in JSON. None would mean that this side was not given.
        return [_NULL if value is None else value for value in values.items]
    return [value if isinstance(value, Mapping) else {label: value} for value in values.items]


def fields(column: Any, name: str, unnamed: str | None = None) -> list[Any]:
    """Return the dicts of a column of feedback or tags without their missing fields; None where no field is left.

    A NotLogged stands in the place of a value that is not a dict. `unnamed` is as in `features`. Raises NotLogged for
    what cannot be a column.
    """
    values = _read(column, name)
    if values.of_rows:
        return [_present(row) for row in values.items]
    label = values.name
    if label is None and values.of_cells and _is_series(column):
        label = unnamed
    found: list[Any] = []
    for value in values.items:
        if isinstance(value, Mapping):
            found.append({field: item for field, item in value.items() if not is_gap(item)} or None)
        elif value is None or (values.of_cells and is_missing(value)):
            found.append(None)
        elif label is not None:
            found.append({label: value})
        else:
            found.append(NotLogged("invalid", _NAMELESS.format(type(value).__name__)))
    return found


_NULL = float("nan")
_NAMELESS = "a value of type {} has no name; give dicts, a DataFrame, or a Series with a name"


def _present(row: Mapping[Any, Any]) -> dict[Any, Any] | None:
    return {field: value for field, value in row.items() if not is_missing(value)} or None


def _read(column: Any, name: str) -> Values:
    if isinstance(column, list | tuple):
        return Values(column)
    # polars; its `to_dict` goes by column.
    if callable(convert := getattr(column, "to_dicts", None)):
        return Values(convert(), of_rows=True)
    # pandas; its Series have no columns.
    if callable(convert := getattr(column, "to_dict", None)) and hasattr(column, "columns"):
        _check_labels(column.columns, name)
        return Values(convert("records"), of_rows=True)
    # pyarrow; its arrays have no names.
    if callable(convert := getattr(column, "to_pylist", None)):
        if (labels := getattr(column, "column_names", None)) is None:
            return Values(convert(), of_cells=True)
        _check_labels(labels, name)
        return Values(convert(), of_rows=True)
    return _array(column, name)


def _array(column: Any, name: str) -> Values:
    if getattr(column, "shape", None) != ():
        dtype = getattr(column, "dtype", None)
        if labels := getattr(dtype, "names", None):
            return Values([dict(zip(labels, row, strict=True)) for row in column.tolist()], of_rows=True)
        if getattr(dtype, "kind", "") == "M" and hasattr(column, "__array_interface__"):
            # Nanoseconds would come out as numbers.
            column = column.astype("M8[us]")
        for convert in (getattr(column, "to_list", None), getattr(column, "tolist", None)):
            if callable(convert):
                # polars names a Series "" where it has no name.
                label = column.name if _is_series(column) and column.name != "" else None
                return Values(convert(), of_cells=True, name=label)
        if isinstance(column, Sequence) and not isinstance(column, str | bytes | bytearray):
            return Values(column)
    kinds = "a list, a DataFrame, a Series or an array"
    kind = type(column).__name__
    raise NotLogged("invalid", f"{name} must be {kinds}, one item per record, not {kind}{_fix(column)}")


def _fix(column: Any) -> str:
    if hasattr(column, "__next__"):
        return "; make one with list(…)"
    if isinstance(column, Mapping):
        return "; make one of a dict of columns with pandas.DataFrame(…)"
    return "; collect() it first" if hasattr(column, "collect") else ""


def _check_labels(labels: Any, name: str) -> None:
    if len(set(labels)) < len(labels):
        # A dict would keep only one of them.
        raise NotLogged("invalid", f"{name} has several columns of one name: {sorted(map(str, labels))}")


def _is_series(column: Any) -> bool:
    return callable(getattr(column, "to_list", None)) and hasattr(column, "name")
