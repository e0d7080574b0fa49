"""How labels changed between two days: which are new, changed or withdrawn. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from joinback_worker.law.row import Row

What = Literal["new", "changed", "withdrawn"]
WHATS: tuple[What, ...] = ("new", "changed", "withdrawn")


class Change(Struct, frozen=True, gc=False):
    """One field of one row whose value changed. Values are JSON; None: it had no value."""

    join_key: str
    field: str
    what: What
    before: bytes | None
    after: bytes | None
    before_is_default: bool
    after_is_default: bool
    told_at: datetime | None
    """When the last value of the field came, among those that count now."""


class Difference(Struct):
    """How much changed between two days."""

    labels: dict[str, Counter[str]] = {}
    """Field -> how many labels are new, changed, withdrawn."""
    rows_added: int = 0
    rows_changed: int = 0
    """Rows that existed before and of which a label changed."""

    @property
    def total(self) -> int:
        return sum(counts.total() for counts in self.labels.values())

    def count(self, before: Row | None, changes: list[Change]) -> None:
        """Count the changes of one row. `before` is None for a new row."""
        for change in changes:
            self.labels.setdefault(change.field, Counter())[change.what] += 1
        if before is None:
            self.rows_added += 1
        elif changes:
            self.rows_changed += 1


class _Times(Struct):
    last: datetime


def changes_of(before: Row | None, after: Row) -> Iterator[Change]:
    """Yield the fields whose value changed, by name. A default that was since logged as it was is not a change."""
    old, new = _values(before), _values(after)
    if old == new:
        return
    was_default, is_default = _defaults(before), _defaults(after)
    times = {} if after.field_times is None else msgspec.json.decode(after.field_times, type=dict[str, _Times])
    for field in sorted(old.keys() | new.keys()):
        if old.get(field) != new.get(field):
            what: What = "withdrawn" if field not in new else "changed" if field in old else "new"
            yield Change(
                join_key=after.join_key,
                field=field,
                what=what,
                before=old.get(field),
                after=new.get(field),
                before_is_default=field in was_default,
                after_is_default=field in is_default,
                told_at=times[field].last if field in times else None,
            )


def _values(row: Row | None) -> Mapping[str, bytes]:
    """Return field -> its JSON, without the spaces that its producer wrote."""
    if row is None or row.feedback is None:
        return {}
    values = msgspec.json.decode(row.feedback, type=dict[str, Raw])
    return {field: msgspec.json.format(bytes(value), indent=-1) for field, value in values.items()}


def _defaults(row: Row | None) -> frozenset[str]:
    return frozenset(() if row is None or row.default_fields is None else msgspec.json.decode(row.default_fields))
