"""What differs between the engines that hold `records`: literals, times, and the way into JSON.

Times are whole microseconds since 1970, UTC, in every engine, so that all of them reckon with the same numbers.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from joinback.errors import ConfigurationError

DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME = "2026-11-23T11:00:00.000000Z"

Keys = Sequence[str]
"""A way into JSON: keys of objects, one within the other; none: the value itself."""


def us_of(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


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


class _Times:
    """`field_times` as the worker writes it, in one form: `{"repaid":{"first":"…","last":"…"},…}`.

    Behind a brace or a comma no name or value can look like `start`: a quote within them has a backslash before it.
    """

    def __init__(self, field: str) -> None:
        self.start = json.dumps(path((field,))[3:-1], ensure_ascii=False) + ':{"first":"'
        only = f'{{{self.start}{_ANY_TIME}","last":"{_ANY_TIME}"}}}}'
        self.only_length, self.only_bytes = len(only), len(only.encode())
        """If the whole is so long and begins with the field, no other was told."""


class SQLite(Dialect):
    keeps = True

    def fenced(self, select: str) -> str:
        # Else SQLite puts each column's expression wherever it is used, and parses the JSON again each time.
        return f"{select} limit -1"

    def time(self, us: int) -> str:
        return self.text((_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def us(self, column: str) -> str:
        # The seconds alone, by the day as a double, which is good to 40 microseconds and three times as fast as '%s'.
        seconds = f"cast(round((julianday(substr({column}, 1, 19)) - 2440587.5) * 86400.0) as integer)"
        return f"({seconds} * 1000000 + cast(substr({column}, 21, 6) as integer))"

    def us_of_seconds(self, seconds: str) -> str:
        return f"cast(round({seconds} * 1e6) as integer)"

    def found(self, column: str, keys: Keys) -> str:
        return f"json_extract({column}, {self.text(path(keys))})"

    def number(self, found: str) -> str:
        # SQLite's true is 1 already. A text must not become 0.
        return f"case when typeof({found}) in ('integer', 'real') then {found} * 1.0 end"

    def string(self, found: str) -> str:
        return f"case when typeof({found}) = 'text' then {found} end"

    def first_told(self, field: str) -> str:
        # json_extract would parse the whole, and a time costs as much as all else: where no other field was told, the
        # row's own delay says it.
        cut = _Times(field)
        head, length = "{" + cut.start, len(cut.start) + 1
        only = f"length(times) = {cut.only_length} and substr(times, 1, {length}) = {self.text(head)}"
        found = f"max(instr(times, {self.text(head)}), instr(times, {self.text(',' + cut.start)}))"
        first = f"nullif(substr(times, nullif({found}, 0) + {length}, {len(_ANY_TIME)}), '')"
        told_alone = f"coalesce(served + {self.us_of_seconds('feedback_delay_s')}, {self.us('first_feedback_at')})"
        return f"case when {only} then {told_alone} else {self.us(first)} end"

    def rows_of(self, table: str) -> str:
        # A window over all rows would hold them.
        return f"(select count(*) from {table})"

    def in_order(self, column: str) -> str:
        # It would sort once more what comes to it sorted; without an order a window takes rows as they come.
        return ""

    def floor(self, number: str) -> str:
        return f"cast({number} as integer)"  # floor() is not in every build

    def double(self, expression: str) -> str:
        return f"({expression} * 1.0)"


class PostgreSQL(Dialect):
    times = "cast(field_times as text)"

    def fenced(self, select: str) -> str:
        # What has a common table of its own is not merged with what asks it; unlike OFFSET 0, it runs in parallel.
        return f"with fence as (select 1) {select}"

    def time(self, us: int) -> str:
        return f"timestamptz '{_EPOCH + timedelta(microseconds=us)}'"

    def us(self, column: str) -> str:
        # As a double, which is good to a microsecond until 2100, and twice as fast as extract's numeric.
        return f"cast(date_part('epoch', {column}) * 1e6 as bigint)"

    def found(self, column: str, keys: Keys) -> str:
        return "".join([column, *(f" -> {self.text(key)}" for key in keys)])

    def number(self, found: str) -> str:
        return (
            f"case jsonb_typeof({found}) when 'number' then cast({found} as double precision)"
            f" when 'boolean' then cast(cast(cast({found} as boolean) as integer) as double precision) end"
        )

    def string(self, found: str) -> str:
        return f"case jsonb_typeof({found}) when 'string' then {found} #>> '{{}}' end"

    def first_told(self, field: str) -> str:
        # `json` is parsed at each look: a third as fast. Where no other field was told, the row's own time is it.
        cut = _Times(field)
        head = self.text("{" + cut.start)
        only = f"octet_length(times) = {cut.only_bytes} and starts_with(times, {head})"
        places = (f"position({self.text(mark + cut.start)} in times)" for mark in ("{", ","))
        place = f"nullif(greatest({', '.join(places)}), 0) + {len(cut.start) + 1}"
        first = f"cast(nullif(substring(times from {place} for {len(_ANY_TIME)}), '') as timestamptz)"
        return self.us(f"case when {only} then first_feedback_at else {first} end")


class ClickHouse(Dialect):
    quote = "\\'"

    def text(self, value: str) -> str:
        return super().text(value.replace("\\", "\\\\"))

    def time(self, us: int) -> str:
        return f"fromUnixTimestamp64Micro(toInt64({us}), 'UTC')"

    def us(self, column: str) -> str:
        return f"toUnixTimestamp64Micro({column})"

    def us_of_seconds(self, seconds: str) -> str:
        return f"toInt64(round({seconds} * 1e6))"

    def found(self, column: str, keys: Keys) -> str:
        if not keys:
            return f"trimBoth(assumeNotNull({column}))"
        return f"JSONExtractRaw({', '.join([f'assumeNotNull({column})', *map(self.text, keys)])})"

    def number(self, found: str) -> str:
        return (
            f"multiIf({found} = 'true', 1., {found} = 'false', 0.,"
            f" match({found}, '^-?[0-9]'), toFloat64OrNull({found}), NULL)"
        )

    def string(self, found: str) -> str:
        return f"if(startsWith({found}, '\"'), JSONExtractString({found}), NULL)"

    def first_told(self, field: str) -> str:
        first = f"JSONExtractString(assumeNotNull(times), {self.text(field)}, 'first')"
        return self.us(f"parseDateTime64BestEffortOrNull({first}, 6, 'UTC')")

    def quotient(self, dividend: str, divisor: int) -> str:
        return f"intDiv({dividend}, {divisor})"

    def floor(self, number: str) -> str:
        return f"toInt64(floor({number}))"

    def double(self, expression: str) -> str:
        return f"toFloat64({expression})"


class DuckDB(Dialect):
    keeps = True

    def time(self, us: int) -> str:
        return f"make_timestamptz({us})"

    def us(self, column: str) -> str:
        return f"epoch_us({column})"

    def found(self, column: str, keys: Keys) -> str:
        return f"json_extract({column}, {self.text(path(keys))})"

    def number(self, found: str) -> str:
        raw = f"cast({found} as varchar)"
        return (
            f"case {raw} when 'true' then 1e0 when 'false' then 0e0 else"
            f" case when regexp_matches({raw}, '^-?[0-9]') then try_cast({raw} as double) end end"
        )

    def string(self, found: str) -> str:
        return f"case json_type({found}) when 'VARCHAR' then json_extract_string({found}, '$') end"

    def first_told(self, field: str) -> str:
        first = f"json_extract_string(times, {self.text(path((field, 'first')))})"
        return self.us(f"cast({first} as timestamptz)")

    def quotient(self, dividend: str, divisor: int) -> str:
        return f"({dividend}) // {divisor}"

    def double(self, expression: str) -> str:
        return f"cast({expression} as double)"


def plain(value: object) -> str:
    """Return a value of JSON as people write it."""
    return value if isinstance(value, str) else json.dumps(value)
