"""The file that JOINBACK_CONFIG names: rules by application, as TOML. Client and worker each read their part of it.

[applications.ads]
sample_rate = 0.01

[applications.ads.feedback.bought]
type = "bool"
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct

from . import wire
from .errors import ConfigurationError

VARIABLE = "JOINBACK_CONFIG"


class ConfigFile(Struct, frozen=True, dict=True):
    """A file that is valid TOML. The contents of its tables are not checked here."""

    path: str
    text: str
    tables: dict[str, Any]

    def where(self, keys: Sequence[str]) -> str:
        """Return where the value at these keys stands, for a person: the file, its line, the keys."""
        shown = ".".join(key if key.replace("_", "").replace("-", "").isalnum() else repr(key) for key in keys)
        line = self.line_of(keys)
        return f"{self.path}, line {line}: {shown}" if line else f"{self.path}: {shown}"

    def line_of(self, keys: Sequence[str]) -> int | None:
        """Return the number of the line where these keys first stand; None if they do not."""
        return self._lines.get(tuple(keys))

    @cached_property
    def _lines(self) -> Mapping[tuple[str, ...], int]:
        """Keys -> line. Each statement is TOML by itself and parsed alone, so a long file is read once."""
        found: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        statement = ""
        for number, line in enumerate(self.text.split("\n"), 1):
            statement = f"{statement}\n{line}" if statement else line
            try:
                found_here = list(_keys(tomllib.loads(statement)))
            except tomllib.TOMLDecodeError:
                continue  # in the middle of an array or a text of several lines
            is_header = statement.lstrip().startswith("[")
            for keys in found_here:
                found.setdefault(keys if is_header else table + keys, number)
            table = found_here[-1] if is_header else table
            statement = ""
        return found

    def applications(self) -> Iterator[tuple[str, Any]]:
        """Yield the name of each application, and its table; the file may have something else in its place."""
        tables = self.tables.get(APPLICATIONS, {})
        yield from tables.items() if isinstance(tables, dict) else ()


def _keys(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the keys that lead to each value in the table, the outer ones first."""
    for key, value in table.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *inner) for inner in _keys(value))


def read(path: str) -> ConfigFile:
    """Return the file. Raises ConfigurationError, with the line, if it cannot be read or is not TOML."""
    try:
        # Editors on Windows write a byte order mark in front.
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is no text in UTF-8"
        raise ConfigurationError(f"{VARIABLE}: {path!r} cannot be read: {why}") from None
    try:
        return ConfigFile(path, text, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{VARIABLE}: {path!r} is not valid TOML: {error}") from None


APPLICATIONS = "applications"
APPLICATION_KEYS = ("join_window_s", "sample_rate", "maturity_s", "labels", "feedback")
"""The keys that an application may have. The worker checks their values."""


def _strange(file: ConfigFile) -> Iterator[tuple[list[str], str]]:
    """Yield unknown keys, each with the likely fix: a typo in `sample_rate` must not silently log everything."""
    import difflib  # only for a file, and slow to import

    def fix(name: str, known: Sequence[str]) -> str:
        near = difflib.get_close_matches(name, known, n=1)
        return f"; did you mean {near[0]}?" if near else ""

    for name in file.tables:
        if name != APPLICATIONS:
            yield [name], fix(name, [APPLICATIONS])
    for application, table in file.applications():
        for name in table if isinstance(table, dict) else ():
            if name not in APPLICATION_KEYS:
                yield [APPLICATIONS, application, name], fix(name, APPLICATION_KEYS)


def sample_rates_in(path: str) -> tuple[dict[str, float], list[str]]:
    """Return the rates by application, and one line per mistake. A client logs the line and goes on."""
    try:
        file = read(path)
    except ConfigurationError as error:
        return {}, [f"{error}; every prediction is logged"]
    rates: dict[str, float] = {}
    lines = [f"{file.where(keys)} is not known, and has no effect{fix}" for keys, fix in _strange(file)]
    for application, table in file.applications():
        if not isinstance(table, dict) or "sample_rate" not in table:
            continue
        rate = table["sample_rate"]
        if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 1:
            rates[application] = wire.sample_rate_of(float(rate))
        else:
            place = file.where(["applications", application, "sample_rate"])
            lines.append(f"{place} must be over 0 and at most 1; every prediction of {application!r} is logged")
    return rates, lines
