"""A comparison as lines of joinback.toml, so that a person can keep what was guessed, or chosen by options. Pure."""

import json
import re

from msgspec import UNSET

from joinback_worker.law.rules import FieldRules, Rules

from .pairing import Pair

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lines_to_keep(application: str, pair: Pair, rules: Rules) -> list[str]:
    """Return the lines; none if joinback.toml declares the comparison already, or if it needs no declaration."""
    declared = rules.feedback.get(pair.field, FieldRules())
    wanted: dict[str, object] = {} if pair.output is None else {"output": pair.output}
    if pair.kind == "score":
        wanted["threshold"] = pair.threshold
        positive = pair.positive if pair.is_text else bool(pair.positive)
        if not pair.is_text and pair.positive not in (0, 1):
            return []  # joinback.toml takes no number for the positive label
        if positive is not True or declared.positive is not UNSET:
            wanted["positive"] = positive
    if all(getattr(declared, name) == value for name, value in wanted.items()):
        return []
    if "positive" in wanted and declared.type is None:
        # joinback.toml takes a positive label only of a field whose type it knows.
        wanted = {"type": "str" if pair.is_text else "bool"} | wanted
    table = ".".join(map(_key, ("applications", application, "feedback", pair.field)))
    return [f"[{table}]", *(f"{name} = {_value(value)}" for name, value in wanted.items())]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    # JSON's texts, numbers, true and false are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
