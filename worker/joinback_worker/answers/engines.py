"""How each engine that holds `records` spells the SQL of the questions."""

import json
from datetime import timedelta

from .dialect import COMPARABLE_MAX, EPOCH, Dialect, Keys, is_odd, path

_NO_LIMIT = 2**63 - 1
_NUL = "\uffff"
"""SQLite's functions of JSON end a text at a NUL. This takes its place: no character, so in no text."""
_ANY_TIME = "2026-11-23T11:00:00.000000Z"
_COMPARABLE = f"between -{COMPARABLE_MAX!r} and {COMPARABLE_MAX!r}"


class _Times:
    """`field_times` as the worker writes it, always in this form: `{"repaid":{"first":"…","last":"…"},…}`.

    `start` after a brace or a comma can only be the field itself: a quote within a name or a value has a backslash
    before it.
    """

    def __init__(self, field: str) -> None:
        self.start = json.dumps(field, ensure_ascii=False) + ':{"first":"'
        only = f'{{{self.start}{_ANY_TIME}","last":"{_ANY_TIME}"}}}}'
        self.only_length, self.only_bytes = len(only), len(only.encode())
        """If the text has this length and begins with the field, the row has no other field."""


class SQLite(Dialect):
    keeps = True

    def text(self, value: str) -> str:
        return super().text(value.replace("\0", _NUL))

    def fenced(self, select: str) -> str:
        # Without the limit SQLite repeats each column's expression wherever it is used, and parses the JSON again.
        return f"{select} limit -1"

    def time(self, us: int) -> str:
        return self.text((EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def us(self, column: str) -> str:
        # julianday gives whole seconds exactly enough (40 microseconds), and is three times as fast as '%s'.
        seconds = f"cast(round((julianday(substr({column}, 1, 19)) - 2440587.5) * 86400.0) as integer)"
        return f"({seconds} * 1000000 + cast(substr({column}, 21, 6) as integer))"

    def us_of_seconds(self, seconds: str) -> str:
        return f"cast(round({seconds} * 1e6) as integer)"

    def found(self, column: str, keys: Keys) -> str:
        if not is_odd(keys):
            return f"json_extract({column}, {self.text(path(keys))})"
        # A path has no escapes, so names are compared one by one, each within the object of the one before.
        within, parts, wanted = column, [], []
        for n, name in enumerate(keys):
            parts.append(f"json_each({within}) as e{n}")
            wanted.append(f"e{n}.key = {self.text(name)}")
            within = f"case e{n}.type when 'object' then e{n}.value end"
        return f"(select e{len(keys) - 1}.value from {', '.join(parts)} where {' and '.join(wanted)} limit 1)"  # noqa: S608

    def found_text(self, column: str, keys: Keys) -> str:
        # The JSON has a NUL as \u0000. Only where there is one, is the JSON copied.
        escaped = (self.text(json.dumps(one)[1:-1]) for one in ("\0", _NUL))
        nul, other = escaped
        return self.found(
            f"case when instr({column}, {nul}) then replace({column}, {nul}, {other}) else {column} end", keys
        )

    def number(self, found: str) -> str:
        # SQLite's true is 1 already. A text must not become 0.
        return f"case when typeof({found}) in ('integer', 'real') and {found} {_COMPARABLE} then {found} * 1.0 end"

    def string(self, found: str) -> str:
        return f"case when typeof({found}) = 'text' then {found} end"

    def first_seen(self, field: str) -> str:
        # json_extract would parse the whole text, and a time costs as much as everything else. If the row has no other
        # field, its own delay gives the time.
        cut = _Times(field)
        head, length = "{" + cut.start, len(cut.start) + 1
        only = f"length(times) = {cut.only_length} and substr(times, 1, {length}) = {self.text(head)}"
        found = f"max(instr(times, {self.text(head)}), instr(times, {self.text(',' + cut.start)}))"
        first = f"nullif(substr(times, nullif({found}, 0) + {length}, {len(_ANY_TIME)}), '')"
        alone = f"coalesce(served + {self.us_of_seconds('feedback_delay_s')}, {self.us('first_feedback_at')})"
        return f"case when {only} then {alone} else {self.us(first)} end"

    def rows_of(self, table: str) -> str:
        # A window over all rows would hold them in memory.
        return f"(select count(*) from {table})"  # noqa: S608 - a name of ours

    def in_order(self, column: str) -> str:
        # The rows come sorted, and SQLite would sort them again. Without an order, a window takes them as they come.
        return ""

    def floor(self, number: str) -> str:
        return f"cast({number} as integer)"  # floor() is not in every build

    def double(self, expression: str) -> str:
        return f"({expression} * 1.0)"


class PostgreSQL(Dialect):
    times = "cast(field_times as text)"

    def anchored(self, expression: str) -> str:
        # PostgreSQL moves a condition into the scan, which then reads the JSON for it, and again for the columns. It
        # does not move one on a volatile column. Of the volatile functions clock_timestamp() runs in parallel.
        return f"case when clock_timestamp() is not null then {expression} end"

    def fenced(self, select: str) -> str:
        # PostgreSQL does not merge a query that has a common table. Unlike OFFSET 0, this still runs in parallel.
        return f"with fence as (select 1) {select}"

    def time(self, us: int) -> str:
        return f"timestamptz '{EPOCH + timedelta(microseconds=us)}'"

    def us(self, column: str) -> str:
        # date_part returns a double: exact to a microsecond until 2100, and twice as fast as the numeric of extract.
        return f"cast(date_part('epoch', {column}) * 1e6 as bigint)"

    def found(self, column: str, keys: Keys) -> str:
        return "".join([column, *(f" -> {self.text(key)}" for key in keys)])

    def number(self, found: str) -> str:
        # A cast to a double refuses what is too far or too near, and the whole report with it. As numeric, which jsonb
        # holds, a million numbers are compared in 0.05 seconds.
        far = f"abs(cast({found} as numeric))"
        return (
            f"case jsonb_typeof({found}) when 'number' then case when {far} between 5e-324 and {COMPARABLE_MAX!r}"
            f" then cast({found} as double precision) when {far} < 5e-324 then 0e0 end"
            f" when 'boolean' then cast(cast(cast({found} as boolean) as integer) as double precision) end"
        )

    def square(self, number: str) -> str:
        # PostgreSQL refuses a product that underflows.
        return f"case when abs({number}) > 1e-150 then {super().square(number)} else 0e0 end"

    def string(self, found: str) -> str:
        return f"case jsonb_typeof({found}) when 'string' then {found} #>> '{{}}' end"

    def first_seen(self, field: str) -> str:
        # `json` parses the text each time, and is a third as fast. With no other field, the row has the time.
        cut = _Times(field)
        head = self.text("{" + cut.start)
        only = f"octet_length(times) = {cut.only_bytes} and starts_with(times, {head})"
        places = (f"position({self.text(mark + cut.start)} in times)" for mark in ("{", ","))
        place = f"nullif(greatest({', '.join(places)}), 0) + {len(cut.start) + 1}"
        first = f"cast(nullif(substring(times from {place} for {len(_ANY_TIME)}), '') as timestamptz)"
        return self.us(f"case when {only} then first_feedback_at else {first} end")


class ClickHouse(Dialect):
    quote = "\\'"

    def fenced(self, select: str) -> str:
        # Without the limit ClickHouse pushes conditions and branches down, and computes the columns of the view again
        # for each: accuracy then takes 2.3 times as long.
        return f"{select} limit {_NO_LIMIT}"

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
        raw = f"JSONExtractRaw({', '.join([f'assumeNotNull({column})', *map(self.text, keys)])})"
        # ClickHouse returns a whole number of more than 64 bits as a text, which is not in the JSON as such.
        is_whole = f"match({raw}, '^\"-?[0-9]{{19,}}\"$') and position(assumeNotNull({column}), {raw}) = 0"
        return f"if({is_whole}, trim(both '\"' from {raw}), {raw})"

    def number(self, found: str) -> str:
        number = f"toFloat64OrNull({found})"
        return (
            f"multiIf({found} = 'true', 1., {found} = 'false', 0.,"
            f" match({found}, '^-?[0-9]') and {number} {_COMPARABLE}, {number}, NULL)"
        )

    def string(self, found: str) -> str:
        return f"if(startsWith({found}, '\"'), JSONExtractString({found}), NULL)"

    def first_seen(self, field: str) -> str:
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
        # A pointer can hold every name. But beside names it also knows the places of a list.
        where = "".join(f"/{self._in_pointer(name)}" for name in keys) if is_odd(keys) else path(keys)
        return f"json_extract({column}, {self.text(where)})"

    def _in_pointer(self, name: str) -> str:
        return name.replace("~", "~0").replace("/", "~1")

    def number(self, found: str) -> str:
        raw = f"cast({found} as varchar)"
        number = f"try_cast({raw} as double)"
        return (
            f"case {raw} when 'true' then 1e0 when 'false' then 0e0 else"
            f" case when regexp_matches({raw}, '^-?[0-9]') and {number} {_COMPARABLE} then {number} end end"
        )

    def string(self, found: str) -> str:
        return f"case json_type({found}) when 'VARCHAR' then json_extract_string({found}, '$') end"

    def first_seen(self, field: str) -> str:
        first = f"json_extract_string({self.found('times', (field, 'first'))}, '$')"
        return self.us(f"cast({first} as timestamptz)")

    def quotient(self, dividend: str, divisor: int) -> str:
        return f"({dividend}) // {divisor}"

    def double(self, expression: str) -> str:
        return f"cast({expression} as double)"
