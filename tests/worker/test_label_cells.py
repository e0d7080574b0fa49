"""What a cell says: round trips of what people write, and questions where a column leaves it open."""

import csv
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinback.errors import JoinbackError
from joinback_worker.labels.cell_values import FALSE, TRUE, Unreadable, reader_of, stripped
from joinback_worker.labels.csv_file import CsvFile
from joinback_worker.labels.numbers import parsed
from joinback_worker.labels.settled import Given
from joinback_worker.labels.time_survey import TimeSurvey
from joinback_worker.labels.times import TimeReader
from joinback_worker.labels.value_survey import ValueSurvey

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOTHING_GIVEN = Given()
DAYS = st.datetimes(
    datetime(1971, 1, 2),  # noqa: DTZ001 - hypothesis wants them naive
    datetime(2026, 5, 31),  # noqa: DTZ001
).map(lambda at: at.replace(microsecond=0))
marks = st.sampled_from(".,")


def settled(cells: Iterable[Any], given: Given = NOTHING_GIVEN, *, is_typed: bool = False) -> Any:
    """What a column of values is, by these cells from row 1 on."""
    survey = ValueSurvey("amount", is_typed=is_typed)
    for row, cell in enumerate(cells, start=1):
        survey.see(row, cell)
    return survey.settle(given, NOW)


def settled_times(cells: Iterable[Any], given: Given = NOTHING_GIVEN) -> Any:
    survey = TimeSurvey("day")
    for row, cell in enumerate(cells, start=1):
        survey.see(row, cell)
    return survey.settle(given, NOW)


# --- numbers --------------------------------------------------------------------------------------------


@given(st.integers(-(10**17), 10**17), marks, st.sampled_from(["", " ", "'", "\u00a0", "\u202f", "other"]))
def test_an_int_in_any_dress(number: int, decimal: Any, apart: str) -> None:
    """An int is read back with its thousands apart by any mark, whatever the decimal mark is."""
    between = {".": ",", ",": "."}[decimal] if apart == "other" else apart
    assert parsed(f"{number:,}".replace(",", between), decimal) == number


@given(st.floats(allow_nan=False, allow_infinity=False), marks)
def test_a_float_in_any_dress(number: float, decimal: Any) -> None:
    """A float is read back to its last digit, with either decimal mark, and with an exponent."""
    assert parsed(repr(number).replace(".", decimal), decimal) == number


@given(st.floats(-(10**12), 10**12).map(lambda x: round(x, 2)), marks)
def test_a_float_with_thousands(number: float, decimal: Any) -> None:
    """As an accountant writes it: thousands apart, and two decimals."""
    text = f"{number:,.2f}"
    assert parsed(text if decimal == "." else text.translate({44: ".", 46: ","}), decimal) == number


@pytest.mark.parametrize(
    "text", ["", "-", "1,23,456", "1,2345", "12e", "1.2.3", "0x1", "१२", "1,234 567", "inf", "1_000", "1e999"]
)
def test_no_number(text: str) -> None:
    """What only resembles a number is none."""
    assert parsed(text, ".") is None


@pytest.mark.parametrize(
    ("cells", "says", "values"),
    [
        (["1", "-20", "+3"], "int", [1, -20, 3]),
        (["1,234,567", "1,234"], "int: '1,234' is 1234", [1234567, 1234]),
        (["1,5", "1,234"], "float: '1,234' is 1.234", [1.5, 1.234]),
        (["1.234,5", "1.234"], "float: '1.234' is 1234", [1234.5, 1234.0]),
        (["0.123", "1.234"], "float: '1.234' is 1.234", [0.123, 1.234]),
        (["1 234", "1'234"], "int", [1234, 1234]),
        (["true", "F", "yes", "0", "1"], "bool", [True, False, True, False, True]),
        (["0", "1"], "int: only 0 and 1; --type amount=bool if they mean no and yes", [0, 1]),
        (["01067", "10115"], "str: leading zeros: row 1 has '01067'", ["01067", "10115"]),
        (["good", "bad", "1"], "str", ["good", "bad", "1"]),
        (["good", "bad", "1,234"], "str", ["good", "bad", "1,234"]),
        (["12345678901234567890"], "str", ["12345678901234567890"]),
    ],
)
def test_a_guess_is_by_the_whole_column(cells: list[str], says: str, values: list[Any]) -> None:
    """All cells of a column settle what each of them says, and a person is told by which."""
    column = settled(cells)
    assert column.description == says
    assert [column.read(cell) for cell in cells] == values
    assert [type(column.read(cell)) for cell in cells] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("cells", "asks"),
    [
        (
            ["900", "1,234"],
            "amount: row 2 has '1,234', which is 1234 or 1.234, and no other cell decides it; add --decimal",
        ),
        (["1.234"], "amount: row 1 has '1.234', which is 1.234 or 1234"),
        (["1", "2", "n/a"], "amount is int in 2 of 3 rows, but row 3 has 'n/a'; add --type amount=int"),
        (["true", "no", "perhaps"], "amount is bool in 2 of 3 rows, but row 3 has 'perhaps'; add --type amount=bool"),
    ],
)
def test_what_is_open_is_asked(cells: list[str], asks: str) -> None:
    """A column that may mean two things is asked about, with the cell that leaves it open."""
    with pytest.raises(JoinbackError) as raised:
        settled(cells)
    assert str(raised.value).startswith(asks)


def test_what_is_given_is_not_asked() -> None:
    """A type or a decimal mark that was given holds, and a cell that is not of it is unreadable alone."""
    assert settled(["1,234"], Given(decimal=",")).read("1,234") == 1.234
    assert settled(["1,234"], Given(decimal=".")).read("1,234") == 1234
    column = settled(["1", "2", "n/a"], Given(types={"amount": "int"}))
    assert column.read("2") == 2
    with pytest.raises(Unreadable, match="'n/a' is not an int"):
        column.read("n/a")
    assert settled(["1", "0"], Given(types={"amount": "bool"})).read("1") is True
    assert settled(["017"], Given(types={"amount": "int"})).read("017") == 17
    assert settled([17], Given(types={"amount": "str"}), is_typed=True).read(17) == "17"
    with pytest.raises(JoinbackError, match="one of bool, int, float, str"):
        settled(["1"], Given(types={"amount": "number"}))


def test_every_word_of_a_bool() -> None:
    """Each word of the table is a bool in any case; no other word is."""
    read = reader_of("bool", ".")
    for words, value in ((TRUE | {"1"}, True), (FALSE | {"0"}, False)):
        assert {read(dressed) for word in words for dressed in (word, word.upper(), word.title())} == {value}
    for cell in ("2", "on", "", 2, 0.5, None, "truee"):
        with pytest.raises(Unreadable):
            read(cell)


@pytest.mark.parametrize(
    ("cell", "value"),
    [(True, True), (17, 17), (1.5, 1.5), ("0017", "0017"), (Decimal("3"), 3), (Decimal("3.00"), 3.0), ([1], [1])],
)
def test_a_typed_cell_is_as_it_is(cell: Any, value: Any) -> None:
    """What a file or a database gives a type keeps it; a Decimal becomes the number that JSON has."""
    read = settled([cell], is_typed=True).read(cell)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("cell", [b"raw", float("inf"), Decimal("1e400")])
def test_a_typed_cell_that_json_cannot_hold(cell: Any) -> None:
    """Bytes and infinities are told, not altered."""
    with pytest.raises(Unreadable):
        settled([cell], is_typed=True).read(cell)


@pytest.mark.parametrize(
    "cell", ["", "  ", "NULL", "null", "None", "NaN", "nan", "NaT", "<NA>", "\\N", float("nan"), None]
)
def test_a_missing_cell(cell: Any) -> None:
    """Empty cells, NULL and NaN of all kinds say nothing; others do if they were given."""
    assert stripped(cell, frozenset()) is None
    assert stripped(" NA ", frozenset({"NA"})) is None
    assert stripped(" NA ", frozenset()) == "NA"


# --- times ----------------------------------------------------------------------------------------------

_FORMATS = ["%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y"]
_CLOCKS = [" %H:%M:%S", ", %H:%M:%S", " %I:%M:%S %p", "T%H:%M:%S"]


@given(DAYS, st.sampled_from(_FORMATS), st.sampled_from(_CLOCKS), st.booleans())
def test_a_day_in_any_dress(at: datetime, day: str, clock: str, day_first: bool) -> None:
    """A time is read back in each order and with each mark, with 12 or 24 hours."""
    if not day_first and "." not in day:
        day = day.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")
    read = TimeReader(now=NOW, zone=UTC, day_first=day_first)
    assert read(at.strftime(day + clock)) == at.replace(tzinfo=UTC)


@given(DAYS, st.sampled_from([" ", "T"]), st.sampled_from(["", "Z", "+00", "+00:00", " UTC", " +0000", " -00:00"]))
def test_iso(at: datetime, between: str, zone: str) -> None:
    """ISO 8601 is read back, also as databases write it."""
    assert TimeReader(now=NOW, zone=UTC)(at.isoformat(between) + zone) == at.replace(tzinfo=UTC)


@given(DAYS, st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]))
def test_a_local_time(at: datetime, name: str) -> None:
    """A time of a named zone is that zone's, or told to be no time of it: never another one."""
    zone = ZoneInfo(name)
    local = at.replace(tzinfo=UTC).astimezone(zone)
    read = TimeReader(now=NOW, zone=zone)(local.strftime("%Y-%m-%d %H:%M:%S"))
    # The hour that comes twice is taken for its first.
    assert read == at.replace(tzinfo=UTC) or (local.fold and read.astimezone(zone) == local.replace(fold=0))


def test_an_hour_that_was_left_out() -> None:
    """What no clock of a zone ever showed is told."""
    with pytest.raises(Unreadable, match="does not exist in Europe/Berlin: its clocks were put forward over it"):
        TimeReader(now=NOW, zone=ZoneInfo("Europe/Berlin"))("2026-03-29 02:30:00")


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["03/04/2026", "13/04/2026"], "time: day first (row 2 has '13/04/2026'), UTC where a cell names no zone"),
        (["03/04/2026", "04/13/2026"], "time: month first (row 2 has '04/13/2026'), UTC where a cell names no zone"),
        (["03.04.2026"], "time: day first, as with dots (row 1 has '03.04.2026'), UTC where a cell names no zone"),
        (["2026-04-03"], "time: UTC where a cell names no zone"),
    ],
)
def test_the_order_is_settled_by_the_column(cells: list[str], says: str) -> None:
    """One day that can only be read one way settles the order for all, and is told."""
    column = settled_times(cells)
    assert column.description == says
    assert column.read(cells[0]).month == (3 if "month" in says else 4)


@pytest.mark.parametrize(
    ("cells", "asks"),
    [
        (["12/12/2026"], "day: row 1 has '12/12/2026': day first or month first?"),
        (
            ["03/04/2026"],
            "day: row 1 has '03/04/2026': day first or month first? no cell decides it; add --day-first or",
        ),
        (["13/04/2026", "04/13/2026"], "day has two orders of day and month: row 1 has '13/04/2026', row 2 has '04/13"),
        (["soon", "later"], "day holds no times: row 1 has 'soon'"),
        ([1782900000], "day holds no times: row 1 has '1782900000'; write ISO 8601, such as"),
        (
            [46115],
            "day holds no times: row 1 has '46115'; it looks like a spreadsheet's day number: format the column",
        ),
        (
            ["46115.5"],
            "day holds no times: row 1 has '46115.5'; it looks like a spreadsheet's day number: format the column as a",
        ),
    ],
)
def test_an_order_that_is_open_is_asked(cells: list[Any], asks: str) -> None:
    """Days that can be read both ways, or only in two ways, are asked about."""
    with pytest.raises(JoinbackError) as raised:
        settled_times(cells)
    assert str(raised.value).startswith(asks)


def test_an_order_that_was_given() -> None:
    """What was given holds, and a day that does not fit is unreadable alone."""
    read = settled_times(["03/04/2026", "13/04/2026"], Given(day_first=False)).read
    assert read("03/04/2026") == datetime(2026, 3, 4, tzinfo=UTC)
    with pytest.raises(Unreadable):
        read("13/04/2026")


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("31/02/2026", "is not a time"),
        ("2026-02-31", "is not a time"),
        ("03/04/26", "has a year of two digits; write it in full"),
        ("2026-06-03", "is in the future"),
        ("9999-12-31T23:59:59-14:00", "is not a time"),
        ("1900-01-01", "is before 1971"),
        (17, "is not a time; add --type COLUMN=unix_s"),
        (46115, "is not a time; it looks like a spreadsheet's day number: format the column as a date"),
        ("46115", "is a number; it looks like a spreadsheet's day number: format the column as a date"),
        ("1782900000", "is a number; add --type COLUMN=unix_s"),
        ("10/13/2026 25:00", "is not a time"),
        ([], "is not a time"),
    ],
)
def test_no_time(cell: Any, why: str) -> None:
    """What is no time, or one that cannot be, is told with its fix."""
    with pytest.raises(Unreadable, match=why):
        TimeReader(now=NOW, zone=UTC)(cell)


def test_numbers_of_a_given_unit() -> None:
    """Seconds, milliseconds and microseconds since 1970 are times if somebody says so."""
    at = datetime(2026, 4, 3, 11, tzinfo=UTC)
    for unit, factor in (("unix_s", 1), ("unix_ms", 1_000), ("unix_us", 1_000_000)):
        column = settled_times([1], Given(types={"day": unit}))
        assert column.read(int(at.timestamp()) * factor) == column.read(str(int(at.timestamp()) * factor)) == at
    assert TimeReader(now=NOW, zone=UTC)(date(2026, 4, 3)) == at - timedelta(hours=11)


# --- files ----------------------------------------------------------------------------------------------


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)] * 2),
        max_size=20,
    ),
    separator=st.sampled_from(",;\t|"),
    bom=st.booleans(),
)
def test_a_csv_file_gives_back_its_cells(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str, bom: bool
) -> None:
    """Any text comes back as it was written: quotes, separators, line ends and zeros in it, with any separator."""
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "day"), *rows])
    source = CsvFile(path)
    assert list(source.columns()) == ["id", "day"]
    lines = [line for batch in source.batches(["day", "id"]) for line in batch]
    assert [(line.row, *line.cells) for line in lines] == [(n, b, a) for n, (a, b) in enumerate(rows, start=1)]


@given(st.lists(st.sampled_from(["1,2", "3", "4,5,6", "é,7", "\udce9,8"]), max_size=30))
def test_a_broken_row_is_refused_alone(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    """Rows of too few or too many cells, and of bytes that are no text, have their own numbers; all others stand."""
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    path.write_bytes("\n".join(["a,b", *rows, ""]).encode(errors="surrogateescape"))
    lines = [line for batch in CsvFile(path).batches(["a", "b"]) for line in batch]
    assert [line.row for line in lines] == list(range(1, len(rows) + 1))
    for line, row in zip(lines, rows, strict=True):
        is_whole = row.count(",") == 1 and "\udce9" not in row
        assert (line.trouble is None) == is_whole
        if is_whole:
            assert ",".join(line.cells) == row


def test_cells_of_a_missing_directory(tmp_path: Path) -> None:
    """What cannot be opened is one line."""
    with pytest.raises(JoinbackError):
        CsvFile(tmp_path / "nothing.csv")
