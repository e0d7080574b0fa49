"""Read and check the rules of every application in the file that JOINBACK_CONFIG names. Errors name the line."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Raw, Struct, structs

from joinback import wire
from joinback.config_file import APPLICATIONS, ConfigFile, read
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.law.declared import trouble_with
from joinback_worker.law.reduce import Reducer
from joinback_worker.law.rules import CENTURY_S, FieldRules, Policy, Rules, Scalar
from joinback_worker.nearest import nearest

_SECONDS = f"must be an integer from 1 to {CENTURY_S}"
_NUMBER = "must be a number"
_EXPECTED = {
    "join_window_s": _SECONDS,
    "maturity_s": _SECONDS,
    "sample_rate": "must be a number over 0 and at most 1",
    "labels": 'must be a list of names: ["bought"]',
    "sources": 'must be a list of names: ["human", "model"]',
    "type": f"must be {', '.join(get_args(Scalar))}, or a list of categories",
    "reducer": f"must be one of {', '.join(get_args(Reducer))}",
    "strict": "must be true or false",
    "min": _NUMBER,
    "max": _NUMBER,
}
"""Key -> the error text for a value of a wrong type or out of range."""
_OF_NUMBERS = frozenset({"sum", "mean", "min", "max"})
"""Reducers that leave texts out."""


class Config(Struct, frozen=True):
    """The rules of all applications."""

    path: str | None
    """The file; None: no file is named."""
    applications: Mapping[str, Rules]
    """The rules of the applications that the file names."""
    otherwise: Rules
    """The rules of every other application."""

    def rules_of(self, application: str) -> Rules:
        """Return the rules of this application."""
        return self.applications.get(application, self.otherwise)


def config_of(settings: Settings) -> Config:
    """Return the rules from the file that the settings name. A process reads it once.

    Raises ConfigurationError with the first thing that is wrong in it, its line, and how many others there are.
    """
    config, problems = look(settings)
    if problems:
        more = f"; and {len(problems) - 1} more, see: joinback config check" if len(problems) > 1 else ""
        raise ConfigurationError(problems[0] + more)
    return config


def look(settings: Settings) -> tuple[Config, Sequence[str]]:
    """Return the rules, and one line for each thing that is wrong.

    Raises ConfigurationError for a file that cannot be read, or is not TOML.
    """
    return _look(settings.config, settings.join_window_s)


@lru_cache(maxsize=8)
def _look(path: str | None, join_window_s: int) -> tuple[Config, Sequence[str]]:
    otherwise = Rules(join_window_s=join_window_s)
    if path is None:
        return Config(None, {}, otherwise), ()
    check = _Check(read(path))
    applications = check.applications(otherwise)
    return Config(path, applications, otherwise), tuple(check.problems)


class _Check:
    """Checks one file. What is right in it becomes rules; what is wrong becomes a line in `problems`."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file
        self.problems: list[str] = []
        self._wrong_at: set[tuple[str, ...]] = set()
        """Keys with a problem. Problems that only follow from these are not reported."""

    def applications(self, otherwise: Rules) -> dict[str, Rules]:
        for name in self._file.tables:
            if name != APPLICATIONS:
                self._wrong([name], f"is not known; rules stand under [{APPLICATIONS}.<name>]")
        if not isinstance(self._file.tables.get(APPLICATIONS, {}), dict):
            self._wrong([APPLICATIONS], f"must be a table; write [{APPLICATIONS}.<name>]")
        found = {}
        for name, table in self._file.applications():
            if name == "*":
                self._wrong([APPLICATIONS, name], "does not stand for all others; name each application")
            elif not name or not name.isprintable() or len(name.encode()) > wire.APPLICATION_BYTES_MAX:
                what = f"must be an application's name: printable text of 1 to {wire.APPLICATION_BYTES_MAX} bytes"
                self._wrong([APPLICATIONS, name], what)
            found[name] = self._rules(table, [APPLICATIONS, name], otherwise)
        return found

    def _rules(self, table: Any, keys: list[str], otherwise: Rules) -> Rules:
        values = self._values(Rules, table, keys, leave="feedback")
        feedback = table.get("feedback", {}) if isinstance(table, dict) else {}
        if not isinstance(feedback, dict):
            self._wrong([*keys, "feedback"], f"must be a table; write [{'.'.join(keys)}.feedback.<field>]")
            feedback = {}
        fields = {name: self._field(field, [*keys, "feedback", name]) for name, field in feedback.items()}
        rules = structs.replace(otherwise, feedback=fields, **values)
        self._check_labels(rules, keys, written="labels" in values)
        self._check_times(rules, keys)
        return rules

    def _check_labels(self, rules: Rules, keys: list[str], written: bool) -> None:
        fields = rules.feedback
        if written and not rules.labels:
            self._wrong([*keys, "labels"], "names none; leave it out, and any field makes a row `joined`")
        if twice := _twice(rules.labels):
            self._wrong([*keys, "labels"], f"names {twice!r} twice")
        for label in dict.fromkeys(rules.labels):
            if label not in fields:
                near = nearest(label, fields)
                fix = f"did you mean {near!r}?" if near else f"declare it: [{'.'.join(keys)}.feedback.{label}]"
                self._wrong([*keys, "labels"], f"names {label!r}, which is not a declared field; {fix}")

    def _check_times(self, rules: Rules, keys: list[str]) -> None:
        windowed = not self._is_wrong(*keys, "join_window_s")
        late = f"is above join_window_s, here {rules.join_window_s}: feedback that late does not count"
        if windowed and (rules.maturity_s or 0) > rules.join_window_s:
            self._wrong([*keys, "maturity_s"], late)
        for name, field in rules.feedback.items():
            place = [*keys, "feedback", name]
            if windowed and (field.maturity_s or 0) > rules.join_window_s:
                self._wrong([*place, "maturity_s"], late)
            is_reported = self._is_wrong(*keys, "maturity_s") or self._is_wrong(*place, "maturity_s")
            if field.default is not UNSET and rules.maturity_of(name) is None and not is_reported:
                what = "needs maturity_s, of the field or of the application: that is when it takes effect"
                self._wrong([*place, "default"], what)

    def _field(self, table: Any, keys: list[str]) -> FieldRules:
        field = FieldRules(**self._values(FieldRules, table, keys))
        if twice := _twice(field.sources):
            self._wrong([*keys, "sources"], f"names {twice!r} twice")
        if twice := _twice(field.categories or ()):
            self._wrong([*keys, "type"], f"names the category {twice!r} twice")
        # With a wrong type the other keys cannot be judged.
        if not self._is_wrong(*keys, "type"):
            self._check_bounds(field, keys)
            self._check_values(field, keys)
        return field

    def _check_bounds(self, field: FieldRules, keys: list[str]) -> None:
        for bound in ("min", "max"):
            value = getattr(field, bound)
            if value is not None and not math.isfinite(value):
                self._wrong([*keys, bound], "must be finite; leave it out where there is no bound")
            elif value is not None and field.scalar not in ("int", "float"):
                self._wrong([*keys, bound], 'is for numbers; give the field type = "int" or "float"')
        if field.min is not None and field.max is not None and field.min > field.max:
            self._wrong([*keys, "min"], "is above max")
        if field.strict and field.type is None:
            self._wrong([*keys, "strict"], "needs a type: without one no value can break it")
        if field.reducer in _OF_NUMBERS and field.scalar == "str":
            what = f"{field.reducer} is for numbers, and its values are texts; take last, first, count or majority"
            self._wrong([*keys, "reducer"], what)

    def _check_values(self, field: FieldRules, keys: list[str]) -> None:
        if field.default is not UNSET and field.reducer in ("sum", "count"):
            if isinstance(field.default, bool) or not isinstance(field.default, int | float):
                self._wrong([*keys, "default"], f"must be a number, such as 0, as the {field.reducer} is one")
            elif not math.isfinite(field.default):
                self._wrong([*keys, "default"], "must be finite")
        elif field.default is not UNSET:
            self._check_value("default", field.default, field, keys)
        if field.threshold is not None and not math.isfinite(field.threshold):
            self._wrong([*keys, "threshold"], "must be finite")
        if field.positive is UNSET:
            return
        if field.type is None:
            self._wrong([*keys, "positive"], "needs a type: it is one of the field's values")
        elif field.scalar not in ("int", "float"):
            self._check_value("positive", field.positive, field, keys)
        elif field.positive not in ("higher", "lower"):
            self._wrong([*keys, "positive"], 'must be "higher" or "lower" for a number: which one is better')

    def _check_value(self, name: str, value: Any, field: FieldRules, keys: list[str]) -> None:
        if not _is_json(value):
            self._wrong([*keys, name], "must be a JSON value, such as true, 0, 0.5 or a text")
        elif trouble := trouble_with(field, Raw(msgspec.json.encode(value))):
            self._wrong([*keys, name], trouble)

    def _values(self, kind: type[Struct], table: Any, keys: list[str], leave: str = "") -> dict[str, Any]:
        """Return the values of a table that are right, by key, as the types of this struct. `leave`: a key to skip."""
        if not isinstance(table, dict):
            self._wrong(keys, f"must be a table; write [{'.'.join(keys)}]")
            return {}
        hints = get_type_hints(kind, include_extras=True)
        found = {}
        for name, value in table.items():
            if name == leave:
                continue
            if name not in kind.__struct_fields__:
                near = nearest(name, kind.__struct_fields__)
                fix = f"did you mean {near}?" if near else f"known are {', '.join(kind.__struct_fields__)}"
                self._wrong([*keys, name], f"is not known; {fix}")
                # The key that was meant has no value now: what follows from that is not reported.
                self._wrong_at.add((*keys, near or name))
                continue
            try:
                found[name] = msgspec.convert(value, hints[name])
            except msgspec.ValidationError:
                self._wrong([*keys, name], _EXPECTED[name])
        return found

    def _is_wrong(self, *keys: str) -> bool:
        return keys in self._wrong_at

    def _wrong(self, keys: Sequence[str], what: str) -> None:
        self._wrong_at.add(tuple(keys))
        self.problems.append(f"{self._file.where(keys)} {what}")


def _twice(names: Iterable[str]) -> str | None:
    """Return the first name that is there more than once; None if none is."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _is_json(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    return isinstance(value, bool | int | str)


def policy_of(settings: Settings, application: str, now: datetime) -> Policy:
    """Return the policy of one application at one moment of Redis's clock.

    Raises ConfigurationError for a file of rules that cannot be read, or has a mistake.
    """
    return Policy(config_of(settings).rules_of(application), now)
