"""What differs between the engines that hold `records`: literals, times, and paths into JSON.

Times are whole microseconds since 1970, UTC, in every engine, so that all of them compute the same numbers.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPARABLE_MAX = 1e100
"""A number beyond it, on either side of 0, is not compared, as a text among numbers is not. A figure sums squares times
weights over rows: a square of up to 4e200 leaves 1e107 for weights and rows until a double overflows. There PostgreSQL
would refuse the whole report, and the others would print inf or nan."""
Keys = Sequence[str]
"""A path into JSON: keys of nested objects, from the outside in. Empty: the value itself."""


def us_of(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


class Dialect:
    """How one engine spells SQL."""

    source = "records"
    """The table or view with the rows of the application."""
    keeps = False
    """Whether a reader may make a temporary table. Then the rows of a pair are read once per report."""
    every = "records"
    """The table or view with the rows of every application."""
    times = "field_times"
    """The column of times as `first_seen` reads it."""
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
        """Return a SELECT whose columns are computed once, however often they are used."""
        return select

    def anchored(self, expression: str) -> str:
        """Return a column whose conditions stay outside the SELECT that computes it."""
        return expression

    def us_of_seconds(self, seconds: str) -> str:
        """Return the microseconds of a column of seconds."""
        return f"cast(round({seconds} * 1e6) as bigint)"

    def found(self, column: str, keys: Keys) -> str:
        """Return the value of a JSON column at a path, as `number` and `string` take it."""
        raise NotImplementedError

    def found_text(self, column: str, keys: Keys) -> str:
        """Return the same for `string` alone, with all characters of a text."""
        return self.found(column, keys)

    def number(self, found: str) -> str:
        """Return a double: a JSON number up to COMPARABLE_MAX; 1 and 0 for true and false; NULL else."""
        raise NotImplementedError

    def square(self, number: str) -> str:
        return f"({number}) * ({number})"

    def string(self, found: str) -> str:
        """Return the text of a JSON string; NULL where there is none."""
        raise NotImplementedError

    def first_seen(self, field: str) -> str:
        """Return the microseconds at which a field first had a value, from `times`. If the row has no other field, it
        may come from the columns of the whole row.
        """
        raise NotImplementedError

    def rows_of(self, table: str) -> str:
        """Return the number of rows of a common table, for a SELECT from it."""
        return "count(*) over ()"

    def in_order(self, column: str) -> str:
        """Return the order of a window whose rows have this order already."""
        return f"order by {column}"

    def quotient(self, dividend: str, divisor: int) -> str:
        """Return the integer quotient. The dividend is not negative."""
        return f"({dividend}) / {divisor}"

    def floor(self, number: str) -> str:
        """Return the integer part of a number that is not negative."""
        return f"cast(floor({number}) as bigint)"

    def double(self, expression: str) -> str:
        return f"cast({expression} as double precision)"


def path(keys: Keys) -> str:
    """Return a JSON path. None of the names is odd."""
    return "".join(["$", *(f'."{name}"' for name in keys)])


def is_odd(keys: Keys) -> bool:
    """Return whether a path cannot hold one of the names everywhere: an empty one, or one that JSON escapes."""
    return any(not name or json.dumps(name, ensure_ascii=False) != f'"{name}"' for name in keys)


def is_comparable(value: object) -> bool:
    """Return whether a JSON value is no number beyond COMPARABLE_MAX."""
    return not isinstance(value, int | float) or abs(value) <= COMPARABLE_MAX


def plain(value: object) -> str:
    """Return a JSON value as people write it: a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value)
