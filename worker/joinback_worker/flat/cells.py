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
    """What of a row typed columns are made of; it waits on disk until their kinds are known."""

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
    """Of an export: how old the prediction was at its moment."""
    label_weight: float | None = None
    """Of an export: see `weights.py`."""

    @property
    def is_labelled(self) -> bool:
        return self.status == "joined"


class _Times(Struct):
    first: datetime


def kept(row: Row, age_s: float | None = None) -> Kept:
    """Return what is kept of a row."""
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


def first_told(row: Kept, field: str) -> datetime | None:
    """Return when a feedback field was told first; None if nobody told it."""
    if row.field_times is None:
        return None
    times = msgspec.json.decode(row.field_times, type=dict[str, _Times]).get(field)
    return None if times is None else times.first


def cells(row: Kept, fixed: Sequence[str], columns: Sequence[Column]) -> list[Any]:
    """Return one value per column: the fixed ones, then the typed ones."""
    found = {place: cells_of(getattr(row, place)) for place in {column.field.place for column in columns}}
    told = {} if row.field_times is None else msgspec.json.decode(row.field_times, type=dict[str, _Times])
    default = frozenset(() if row.default_fields is None else msgspec.json.decode(row.default_fields))
    typed = [_PARTS[column.part](column, found, told, default) for column in columns]
    return [*(getattr(row, name) for name in fixed), *typed]


def _value(column: Column, found: Mapping[str, Mapping[str | None, Raw]], told: Any, default: Any) -> Any:
    raw = found[column.field.place].get(column.field.key)
    return None if raw is None else value_of(bytes(raw), column.kind)  # type: ignore[arg-type]


def _at(column: Column, found: Any, told: Mapping[str | None, _Times], default: Any) -> datetime | None:
    times = told.get(column.field.key)
    return None if times is None else times.first


def _is_default(column: Column, found: Any, told: Any, default: frozenset[str | None]) -> bool:
    return column.field.key in default


_PARTS: Mapping[str, Callable[..., Any]] = {"value": _value, "at": _at, "is_default": _is_default}
