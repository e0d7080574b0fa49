"""A row as the cells of typed columns."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from joinback_worker.law.row import Row

from .columns import Column
from .kinds import value_of
from .survey import cells_of


class Kept(Struct, array_like=True, gc=False):
    """The parts of a row that typed columns need. It waits on disk until their kinds are known."""

    join_key: str
    predicted_at: datetime | None
    version: str | None
    environment: str | None
    status: str
    sample_rate: float | None
    label_age_s: float | None
    inputs: bytes | None
    outputs: bytes | None
    feedback: bytes | None
    default_fields: bytes | None
    field_times: bytes | None
    age_s: float | None
    """For an export: how old the prediction was at its moment."""
    label_weight: float | None = None
    """For an export: see `weights.py`."""

    @property
    def is_labelled(self) -> bool:
        return self.status == "joined"


class _Times(Struct):
    first: datetime


def kept(row: Row, age_s: float | None = None) -> Kept:
    """Return the parts of a row that typed columns need."""
    return Kept(
        join_key=row.join_key,
        predicted_at=row.predicted_at,
        version=row.version,
        environment=row.environment,
        status=row.status,
        sample_rate=row.sample_rate,
        label_age_s=row.feedback_delay_s,
        inputs=row.inputs,
        outputs=row.outputs,
        feedback=row.feedback,
        default_fields=row.default_fields,
        field_times=row.field_times,
        age_s=age_s,
    )


def first_seen(row: Kept, field: str) -> datetime | None:
    """Return when a feedback field first had a value; None if it never had one."""
    if row.field_times is None:
        return None
    times = msgspec.json.decode(row.field_times, type=dict[str, _Times]).get(field)
    return None if times is None else times.first


def cells(row: Kept, fixed: Sequence[str], columns: Sequence[Column]) -> list[Any]:
    """Return one value per column: the fixed ones, then the typed ones."""
    found = {place: cells_of(getattr(row, place)) for place in {column.field.place for column in columns}}
    times = {} if row.field_times is None else msgspec.json.decode(row.field_times, type=dict[str, _Times])
    default = frozenset(() if row.default_fields is None else msgspec.json.decode(row.default_fields))
    typed = [_PARTS[column.part](column, found, times, default) for column in columns]
    return [*(getattr(row, name) for name in fixed), *typed]


def _value(column: Column, found: Mapping[str, Mapping[str | None, Raw]], times: Any, default: Any) -> Any:
    raw = found[column.field.place].get(column.field.key)
    return None if raw is None else value_of(bytes(raw), column.kind)  # type: ignore[arg-type]


def _at(column: Column, found: Any, times: Mapping[str | None, _Times], default: Any) -> datetime | None:
    own = times.get(column.field.key)
    return None if own is None else own.first


def _is_default(column: Column, found: Any, times: Any, default: frozenset[str | None]) -> bool:
    return column.field.key in default


_PARTS: Mapping[str, Callable[..., Any]] = {"value": _value, "at": _at, "is_default": _is_default}
