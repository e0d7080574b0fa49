"""The reader of a source, by the name of the file or the URL of the query. A reader is imported when it is needed."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from msgspec import Struct

from joinback.errors import JoinbackError

from .lines import Source

KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".xlsx": "excel",
    ".xlsm": "excel",
}
_NAMES = {"csv": "a CSV file", "parquet": "a Parquet file", "json": "a JSON Lines file", "excel": "an Excel file"}
FORMATS = ("csv", "parquet", "json", "excel")
_READERS = {
    "csv": ("csv_file", "CsvFile", "import"),
    "parquet": ("parquet_file", "ParquetFile", "import"),
    "json": ("json_lines", "JsonLines", "import"),
    "excel": ("excel_file", "ExcelFile", "excel"),
    "sql": ("sql_query", "SqlQuery", "import"),
}


class Reading(Struct, frozen=True, kw_only=True):
    """How to read a file, as far as the user gave it; None is guessed."""

    kind: str | None = None
    separator: str | None = None
    encoding: str | None = None
    sheet: str | None = None


def open_file(path: Path, reading: Reading) -> Source:
    """Return a file's reader. Raises JoinbackError, on one line, if the file is missing, empty or unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = reading.kind or KINDS.get(suffixes[-1] if suffixes else "")
    if not path.exists():
        raise JoinbackError(f"there is no file {path}")
    if not path.is_file() and not path.is_dir():
        # A pipe, say: it cannot be read twice.
        raise JoinbackError(f"{path} is not a file; write its content to a file first")
    if not path.is_file():
        raise JoinbackError(f"{path} is a directory; to load several files, import them one by one")
    if path.stat().st_size == 0:
        raise JoinbackError(f"{path.name} is empty")
    if kind is None:
        raise JoinbackError(f"the kind of {path.name} is not known; add --format csv, parquet, json or excel")
    for option, value, own in (
        ("--separator", reading.separator, "csv"),
        ("--encoding", reading.encoding, "csv"),
        ("--sheet", reading.sheet, "excel"),
    ):
        if value is not None and kind != own:
            raise JoinbackError(f"{option} is for {_NAMES[own]}, and {path.name} is {_NAMES[kind]}")
    if kind == "csv":
        separator = reading.separator or ("\t" if suffixes[-1:] == [".tsv"] else None)
        return _reader(kind)(path, separator, reading.encoding)
    return _reader(kind)(path, reading.sheet) if kind == "excel" else _reader(kind)(path)


def open_query(url: str, query: str) -> Source:
    """Run a query, and return the reader of its rows. Raises JoinbackError, in one line and without a password."""
    return _reader("sql")(url, query)


def _reader(kind: str) -> Callable[..., Source]:
    module, name, extra = _READERS[kind]
    try:
        return cast(Callable[..., Source], getattr(import_module(f".{module}", __package__), name))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("joinback"):
            raise
        raise JoinbackError(f"this needs {error.name}; in Joinback's clone: pip install '.[{extra}]'") from None
