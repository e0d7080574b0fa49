"""What differs between the engines that hold `records`: literals, times, and the way into JSON.

Times are whole microseconds since 1970, UTC, in every engine, so that all of them reckon with the same numbers.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from joinback.errors import ConfigurationError

DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Keys = Sequence[str]
"""A way into JSON: keys of objects, one within the other; none: the value itself."""


def us_of(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


class Dialect:
    """One engine's spelling."""

    source = "records"
    """Where the application's rows stand."""
    keeps = False
    """Whether a reader may have a table of its own, so that the rows of a pair are read once per report."""
    every = "records"
    """Where those of every application do."""
    times = "field_times"
    """The column as `first_told` looks into it."""
    quote = "''"

    def text(self, value: str) -> str:
        """Return a literal."""
        return "'" + value.replace("'", self.quote) + "'"

    def time(self, us: int) -> str:
        """Return a literal that compares with a column of times."""
        raise NotImplementedError

    def us(self, column: str) -> str:
        """Return the microseconds of a column of times."""
        raise NotImplementedError

    def fenced(self, select: str) -> str:
        """Return a SELECT whose columns are reckoned once, however often they are used."""
        return select

    def us_of_seconds(self, seconds: str) -> str:
        """Return the microseconds of a column of seconds."""
        return f"cast(round({seconds} * 1e6) as bigint)"

    def found(self, column: str, keys: Keys) -> str:
        """Return what stands in a JSON column under the keys, one within the other, for `number` and `string`."""
        raise NotImplementedError

    def number(self, found: str) -> str:
        """Return a double: a JSON number, or 1 and 0 for true and false; NULL for anything else."""
        raise NotImplementedError

    def string(self, found: str) -> str:
        """Return the text of a JSON string; NULL where there is none."""
        raise NotImplementedError

    def first_told(self, field: str) -> str:
        """Return the microseconds of when a field was told first, from `times`, or from columns of the whole row if no
        other was told.
        """
        raise NotImplementedError

    def rows_of(self, table: str) -> str:
        """Return how many rows a common table has, in a SELECT from it."""
        return "count(*) over ()"

    def in_order(self, column: str) -> str:
        """Return a window's order, where a window below it has the same order already."""
        return f"order by {column}"

    def quotient(self, dividend: str, divisor: int) -> str:
        """Return the whole quotient of what is not negative."""
        return f"({dividend}) / {divisor}"

    def floor(self, number: str) -> str:
        """Return the whole part of what is not negative."""
        return f"cast(floor({number}) as bigint)"

    def double(self, expression: str) -> str:
        return f"cast({expression} as double precision)"


def path(keys: Keys) -> str:
    """Return a JSON path. Raises ConfigurationError for a name that none of them can spell."""
    for name in keys:
        if '"' in name or "\\" in name:
            raise ConfigurationError(f"the name {name!r} has a quote or a backslash, which no path into JSON can spell")
    return "".join(["$", *(f'."{name}"' for name in keys)])


def plain(value: object) -> str:
    """Return a value of JSON as people write it."""
    return value if isinstance(value, str) else json.dumps(value)
