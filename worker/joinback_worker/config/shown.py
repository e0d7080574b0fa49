"""The rules that hold for each application and each feedback field, and where each was set."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct

from joinback.config_file import APPLICATIONS, ConfigFile, read
from joinback_worker.law.rules import FieldRules, Rules
from joinback_worker.nearest import nearest

from .rules_file import Config

JOIN_WINDOW = "JOINBACK_JOIN_WINDOW_S"
_DEFAULT = "default"


class Holds(Struct, frozen=True):
    """One rule that holds, and where it was set."""

    name: str
    """As in the file: `feedback.bought.type`."""
    value: Any
    said: str
    """Where it was set: `line 12`, the name of a variable, or `default`."""


class Holding(Struct, frozen=True):
    """The rules that hold for one application."""

    digest: str
    """`Rules.digest`."""
    holds: Sequence[Holds]


class Names(Struct, frozen=True):
    """How the applications of the file differ from those that have logged."""

    without_rules: Sequence[str]
    """Applications that have logged, and that the file does not name."""
    not_logged: Mapping[str, str | None]
    """Applications that the file names, and that have not logged -> the nearest of `without_rules`, or None."""


def holding(config: Config) -> dict[str, Holding]:
    """Return the rules that hold for each application that the file names."""
    if config.path is None:
        return {}
    file = read(config.path)
    return {
        name: Holding(rules.digest, _of_application(file, name, rules)) for name, rules in config.applications.items()
    }


def otherwise(config: Config) -> Holding:
    """Return the rules that hold for every application that the file does not name."""
    rules = config.otherwise
    return Holding(rules.digest, [Holds("join_window_s", rules.join_window_s, _said_of_window())])


def names(config: Config, logged: Collection[str]) -> Names:
    """Return how the file's applications differ from those that have logged."""
    named = config.applications
    free = sorted(name for name in logged if name not in named)
    return Names(
        without_rules=free,
        not_logged={name: nearest(name, free) for name in sorted(named) if name not in logged},
    )


def _of_application(file: ConfigFile, name: str, rules: Rules) -> list[Holds]:
    place = [APPLICATIONS, name]
    found = []
    for key in ("join_window_s", "sample_rate", "maturity_s", "labels"):
        line = file.line_of([*place, key])
        value = getattr(rules, key)
        if line is not None or key == "join_window_s":
            found.append(Holds(key, value, f"line {line}" if line else _said_of_window()))
    for field, field_rules in rules.feedback.items():
        found += _of_field(file, [*place, "feedback", field], field_rules, rules.maturity_of(field))
    return found


def _of_field(file: ConfigFile, place: list[str], rules: FieldRules, maturity_s: int | None) -> list[Holds]:
    found = []
    for key in FieldRules.__struct_fields__:
        line = file.line_of([*place, key])
        value = getattr(rules, key)
        said = f"line {line}"
        if line is None:
            said = _DEFAULT
            if key == "maturity_s" and maturity_s is not None:
                value, said = maturity_s, f"line {file.line_of([*place[:2], key])}"
        if key == "reducer" or said != _DEFAULT:
            found.append(Holds(".".join([*place[2:], key]), None if value is UNSET else value, said))
    return found


def _said_of_window() -> str:
    return JOIN_WINDOW if os.environ.get(JOIN_WINDOW, "").strip() else _DEFAULT
