"""What differs between the engines that hold `records`: literals, times, and the way into JSON.

Times are whole microseconds since 1970, UTC, in every engine, so that all of them reckon with the same numbers.
"""

import json
from datetime import UTC, datetime, timedelta

from joinback.errors import ConfigurationError

DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME = "2026-11-23T11:00:00.000000Z"


def us_of(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


class Dialect:
    """One engine's spelling. `name` is a key of a JSON object; None: the value itself."""

    source = "records"
    """Where the application's rows stand."""
    keeps = False
    """Whether a reader may have a table of its own, so that the rows of a pair are read once per report."""
    every = "records"
    """Where those of every application do."""
    fence = ""
    """Ends a common table whose columns are to be reckoned once."""
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

    def us_of_text(self, text: str) -> str:
        """Return the microseconds of a text such as `2026-11-23T11:00:00.000000Z`."""
        raise NotImplementedError

    def us_of_seconds(self, seconds: str) -> str:
        """Return the microseconds of a column of seconds."""
        return f"cast(round({seconds} * 1e6) as bigint)"

    def number(self, column: str, name: str | None) -> str:
        """Return a double: a JSON number, or 1 and 0 for true and false; NULL for anything else."""
        raise NotImplementedError

    def string(self, column: str, name: str | None) -> str:
        """Return the text of a JSON string; NULL where there is none."""
        raise NotImplementedError

    def first_told(self, field: str) -> str:
        """Return when a field was told first, as text, from `field_times`."""
        raise NotImplementedError

    def quotient(self, dividend: str, divisor: int) -> str:
        """Return the whole quotient of what is not negative."""
        return f"({dividend}) / {divisor}"

    def floor(self, number: str) -> str:
        """Return the whole part of what is not negative."""
        return f"cast(floor({number}) as bigint)"

    def double(self, expression: str) -> str:
        return f"cast({expression} as double precision)"


def path(name: str | None) -> str:
    """Return a JSON path to a key of an object. Raises ConfigurationError for a name that none of them can spell."""
    if name is None:
        return "$"
    if '"' in name or "\\" in name:
        raise ConfigurationError(f"the name {name!r} has a quote or a backslash, which no path into JSON can spell")
    return f'$."{name}"'


def _start(field: str) -> str:
    """Return what stands before a field's first time in `field_times`, as the worker writes it, in one form.

    Behind a brace or a comma no name or value can look like this: a quote within them has a backslash before it.
    """
    return json.dumps(path(field)[3:-1], ensure_ascii=False) + ':{"first":"'


class SQLite(Dialect):
    # Else SQLite puts each column's expression wherever it is used, and parses the JSON again each time.
    fence = " limit -1"
    keeps = True

    def time(self, us: int) -> str:
        return self.text((_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def us(self, column: str) -> str:
        # The seconds alone, by the day as a double, which is good to 40 microseconds and three times as fast as '%s'.
        seconds = f"cast(round((julianday(substr({column}, 1, 19)) - 2440587.5) * 86400.0) as integer)"
        return f"({seconds} * 1000000 + cast(substr({column}, 21, 6) as integer))"

    def us_of_text(self, text: str) -> str:
        return self.us(text)

    def us_of_seconds(self, seconds: str) -> str:
        return f"cast(round({seconds} * 1e6) as integer)"

    def number(self, column: str, name: str | None) -> str:
        found = f"json_extract({column}, {self.text(path(name))})"
        # SQLite's true is 1 already. A text must not become 0.
        return f"case when typeof({found}) in ('integer', 'real') then {found} * 1.0 end"

    def string(self, column: str, name: str | None) -> str:
        found = f"json_extract({column}, {self.text(path(name))})"
        return f"case when typeof({found}) = 'text' then {found} end"

    def first_told(self, field: str) -> str:
        # json_extract would parse the whole: half as fast.
        start = _start(field)
        found = f"max(instr(field_times, {self.text('{' + start)}), instr(field_times, {self.text(',' + start)}))"
        return f"nullif(substr(field_times, nullif({found}, 0) + {len(start) + 1}, {len(_ANY_TIME)}), '')"

    def floor(self, number: str) -> str:
        return f"cast({number} as integer)"  # floor() is not in every build

    def double(self, expression: str) -> str:
        return f"({expression} * 1.0)"


class PostgreSQL(Dialect):
    fence = " offset 0"

    def time(self, us: int) -> str:
        return f"timestamptz '{_EPOCH + timedelta(microseconds=us)}'"

    def us(self, column: str) -> str:
        # As a double, which is good to a microsecond until 2100, and twice as fast as extract's numeric.
        return f"cast(date_part('epoch', {column}) * 1e6 as bigint)"

    def us_of_text(self, text: str) -> str:
        return self.us(f"cast({text} as timestamptz)")

    def number(self, column: str, name: str | None) -> str:
        found, _ = self._found(column, name)
        return (
            f"case jsonb_typeof({found}) when 'number' then cast({found} as double precision)"
            f" when 'boolean' then cast(cast(cast({found} as boolean) as integer) as double precision) end"
        )

    def string(self, column: str, name: str | None) -> str:
        found, text = self._found(column, name)
        return f"case jsonb_typeof({found}) when 'string' then {text} end"

    def first_told(self, field: str) -> str:
        # `json` is parsed at each look: a third as fast.
        start, cell = _start(field), "cast(field_times as text)"
        places = (f"position({self.text(mark + start)} in {cell})" for mark in ("{", ","))
        found = f"nullif(greatest({', '.join(places)}), 0) + {len(start) + 1}"
        return f"nullif(substring({cell} from {found} for {len(_ANY_TIME)}), '')"

    def _found(self, column: str, name: str | None) -> tuple[str, str]:
        if name is None:
            return column, f"{column} #>> '{{}}'"
        return f"({column} -> {self.text(name)})", f"{column} ->> {self.text(name)}"


class ClickHouse(Dialect):
    quote = "\\'"

    def text(self, value: str) -> str:
        return super().text(value.replace("\\", "\\\\"))

    def time(self, us: int) -> str:
        return f"fromUnixTimestamp64Micro(toInt64({us}), 'UTC')"

    def us(self, column: str) -> str:
        return f"toUnixTimestamp64Micro({column})"

    def us_of_text(self, text: str) -> str:
        return f"toUnixTimestamp64Micro(parseDateTime64BestEffortOrNull({text}, 6, 'UTC'))"

    def us_of_seconds(self, seconds: str) -> str:
        return f"toInt64(round({seconds} * 1e6))"

    def number(self, column: str, name: str | None) -> str:
        raw = self._raw(column, name)
        return (
            f"multiIf({raw} = 'true', 1., {raw} = 'false', 0., match({raw}, '^-?[0-9]'), toFloat64OrNull({raw}), NULL)"
        )

    def string(self, column: str, name: str | None) -> str:
        raw = self._raw(column, name)
        key = "" if name is None else f", {self.text(name)}"
        return f"if(startsWith({raw}, '\"'), JSONExtractString(assumeNotNull({column}){key}), NULL)"

    def first_told(self, field: str) -> str:
        return f"nullIf(JSONExtractString(assumeNotNull(field_times), {self.text(field)}, 'first'), '')"

    def quotient(self, dividend: str, divisor: int) -> str:
        return f"intDiv({dividend}, {divisor})"

    def floor(self, number: str) -> str:
        return f"toInt64(floor({number}))"

    def double(self, expression: str) -> str:
        return f"toFloat64({expression})"

    def _raw(self, column: str, name: str | None) -> str:
        if name is None:
            return f"trimBoth(assumeNotNull({column}))"
        return f"JSONExtractRaw(assumeNotNull({column}), {self.text(name)})"


class DuckDB(Dialect):
    keeps = True

    def time(self, us: int) -> str:
        return f"make_timestamptz({us})"

    def us(self, column: str) -> str:
        return f"epoch_us({column})"

    def us_of_text(self, text: str) -> str:
        return f"epoch_us(cast({text} as timestamptz))"

    def number(self, column: str, name: str | None) -> str:
        raw = f"cast(json_extract({column}, {self.text(path(name))}) as varchar)"
        return (
            f"case {raw} when 'true' then 1e0 when 'false' then 0e0 else"
            f" case when regexp_matches({raw}, '^-?[0-9]') then try_cast({raw} as double) end end"
        )

    def string(self, column: str, name: str | None) -> str:
        place = self.text(path(name))
        return f"case json_type({column}, {place}) when 'VARCHAR' then json_extract_string({column}, {place}) end"

    def first_told(self, field: str) -> str:
        return f"json_extract_string(field_times, {self.text(path(field) + '.first')})"

    def quotient(self, dividend: str, divisor: int) -> str:
        return f"({dividend}) // {divisor}"

    def double(self, expression: str) -> str:
        return f"cast({expression} as double)"


def plain(value: object) -> str:
    """Return a value of JSON as people write it."""
    return value if isinstance(value, str) else json.dumps(value)
