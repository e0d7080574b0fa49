"""The rules of every application, from the file that JOINBACK_CONFIG names; checked key by key, with the line."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Raw, Struct, structs

from joinback.config_file import APPLICATIONS, ConfigFile, read
from joinback.errors import ConfigurationError
from joinback.settings import Settings

from .declared import trouble_with
from .reduce import Reducer
from .rules import FieldRules, Rules, Scalar

_HINT = 0.6
"""Of difflib's ratio: maturty_s is near maturity_s."""
_CHOICES = {
    "type": f"must be {', '.join(get_args(Scalar))}, or a list of categories",
    "reducer": f"must be one of {', '.join(get_args(Reducer))}",
}


class Config(Struct, frozen=True):
    """The rules by application, as far as the file declares any."""

    path: str | None
    applications: Mapping[str, Rules]
    otherwise: Rules
    """Of every other application."""

    def rules_of(self, application: str) -> Rules:
        """Return what holds for this application."""
        return self.applications.get(application, self.otherwise)


def config_of(settings: Settings) -> Config:
    """Return what the settings' file says. It is read once per process.

    Raises ConfigurationError: the first thing that is wrong with it, its line, and how many others there are.
    """
    config, problems = look(settings)
    if problems:
        more = f"; and {len(problems) - 1} more, see: joinback config check" if len(problems) > 1 else ""
        raise ConfigurationError(problems[0] + more)
    return config


def look(settings: Settings) -> tuple[Config, Sequence[str]]:
    """Return the rules, and a line per thing that is wrong. Raises ConfigurationError for a file that is no TOML."""
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
    """One reading of a file: what is right in it becomes rules, what is wrong a line."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file
        self.problems: list[str] = []

    def applications(self, otherwise: Rules) -> dict[str, Rules]:
        for name in self._file.tables:
            if name != APPLICATIONS:
                self._wrong([name], f"is not known; rules stand under [{APPLICATIONS}.<name>]")
        if not isinstance(self._file.tables.get(APPLICATIONS, {}), dict):
            self._wrong([APPLICATIONS], f"must be a table; write [{APPLICATIONS}.<name>]")
        return {name: self._rules(table, [APPLICATIONS, name], otherwise) for name, table in self._file.applications()}

    def _rules(self, table: Any, keys: list[str], otherwise: Rules) -> Rules:
        values = self._values(Rules, table, keys, leave="feedback")
        feedback = table.get("feedback", {}) if isinstance(table, dict) else {}
        if not isinstance(feedback, dict):
            self._wrong([*keys, "feedback"], f"must be a table; write [{'.'.join(keys)}.feedback.<field>]")
            feedback = {}
        fields = {name: self._field(field, [*keys, "feedback", name]) for name, field in feedback.items()}
        rules = structs.replace(otherwise, feedback=fields, **values)
        for label in rules.labels:
            if label not in fields:
                near = _near(label, fields)
                fix = f"did you mean {near!r}?" if near else f"declare it: [{'.'.join(keys)}.feedback.{label}]"
                self._wrong([*keys, "labels"], f"names {label!r}, which is no declared field; {fix}")
        for name, field in fields.items():
            if field.default is not UNSET and rules.maturity_of(name) is None:
                place = [*keys, "feedback", name, "default"]
                self._wrong(place, "needs maturity_s, of the field or of the application: when it comes into force")
        return rules

    def _field(self, table: Any, keys: list[str]) -> FieldRules:
        field = FieldRules(**self._values(FieldRules, table, keys))
        numeric = field.scalar in ("int", "float")
        for bound in ("min", "max"):
            if getattr(field, bound) is not None and not numeric:
                self._wrong([*keys, bound], 'is for numbers; give the field type = "int" or "float"')
        if field.min is not None and field.max is not None and field.min > field.max:
            self._wrong([*keys, "min"], "is above max")
        for name in ("sources",) if len(set(field.sources)) < len(field.sources) else ():
            self._wrong([*keys, name], "names one source twice")
        if field.strict and field.type is None:
            self._wrong([*keys, "strict"], "needs a type: there is nothing to break")
        if field.default is not UNSET:
            self._check_value("default", field.default, field, keys)
        if field.positive is not UNSET and not (numeric and field.positive in ("higher", "lower")):
            if numeric:
                self._wrong([*keys, "positive"], 'must be "higher" or "lower" for a number: which is the better one')
            else:
                self._check_value("positive", field.positive, field, keys)
        return field

    def _check_value(self, name: str, value: Any, field: FieldRules, keys: list[str]) -> None:
        if not _is_json(value):
            self._wrong([*keys, name], "must be what JSON holds: true, 0, 0.5, a text")
        elif trouble := trouble_with(field, Raw(msgspec.json.encode(value))):
            self._wrong([*keys, name], trouble)

    def _values(self, kind: type[Struct], table: Any, keys: list[str], leave: str = "") -> dict[str, Any]:
        """Return the keys of a table that are right, as this struct has them."""
        if not isinstance(table, dict):
            self._wrong(keys, f"must be a table; write [{'.'.join(keys)}]")
            return {}
        hints = get_type_hints(kind, include_extras=True)
        found = {}
        for name, value in table.items():
            if name == leave:
                continue
            if name not in kind.__struct_fields__:
                near = _near(name, kind.__struct_fields__)
                fix = f"did you mean {near}?" if near else f"known are {', '.join(kind.__struct_fields__)}"
                self._wrong([*keys, name], f"is not known; {fix}")
                continue
            try:
                found[name] = msgspec.convert(value, hints[name])
            except msgspec.ValidationError as error:
                what = str(error).partition(" - at `$")[0].replace("`", "")
                self._wrong([*keys, name], _CHOICES.get(name, what))
        return found

    def _wrong(self, keys: Sequence[str], what: str) -> None:
        self.problems.append(f"{self._file.where(keys)} {what}")


def _is_json(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    return isinstance(value, bool | int | str)


def _near(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=_HINT)
    return near[0] if near else None
