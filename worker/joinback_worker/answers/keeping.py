"""A comparison as lines of joinback.toml, so that a person can keep what was guessed, or chosen by options. Pure."""

import json
import re
from shlex import quote

from msgspec import UNSET

from joinback_worker.law.rules import FieldRules, Rules

from .candidates import positive_of
from .dialect import plain
from .pairing import Pair

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lines_to_keep(application: str, pair: Pair, rules: Rules) -> list[str]:
    """Return the lines; none if joinback.toml declares the comparison already, needs no declaration, or takes none."""
    declared = rules.feedback.get(pair.field, FieldRules())
    if why_not_kept(pair, rules) is not None:
        return []
    wanted: dict[str, object] = {} if pair.output is None else {"output": pair.output}
    if pair.kind == "score":
        wanted["threshold"] = pair.threshold
        if _needs_positive(pair, declared):
            wanted["positive"] = pair.positive if pair.is_text else bool(pair.positive)
    if all(getattr(declared, name) == value for name, value in wanted.items()):
        return []
    table = ".".join(map(_key, ("applications", application, "feedback", pair.field)))
    lines = [f"[{table}]"]
    if "positive" in wanted and declared.type is None:
        # joinback.toml takes a positive label only of a field whose type it knows.
        one = "true" if _type_of(pair) == "bool" else 'the text "1"'
        lines.append(f'type = "{_type_of(pair)}"  # also converts values of this field in rows: 1 to {one}')
    return [*lines, *(f"{name} = {_value(value)}" for name, value in wanted.items())]


def why_not_kept(pair: Pair, rules: Rules) -> str | None:
    """Return why joinback.toml cannot declare the comparison, with the options to pass instead; None if it can."""
    declared = rules.feedback.get(pair.field, FieldRules())
    if pair.kind != "score" or not _needs_positive(pair, declared):
        return None
    is_value = pair.is_text or pair.positive in (0, 1)
    if is_value and declared.scalar in (None, _type_of(pair)):
        return None
    options = {
        "field": pair.field,
        "output": pair.output,
        "threshold": repr(pair.threshold),
        "positive": plain(pair.positive),
    }
    passed = " ".join(f"--{name} {quote(value)}" for name, value in options.items() if value is not None)
    why = (
        "joinback.toml takes no number as the positive label"
        if not is_value
        else f"its `type` in joinback.toml is not that of {plain(pair.positive)}"
    )
    return f"This comparison cannot be kept, as {why}. Pass each time: {passed}"


def _needs_positive(pair: Pair, declared: FieldRules) -> bool:
    """Return whether the positive label is another than the one assumed, which is true, or 1."""
    return pair.is_text or pair.positive != 1 or positive_of(declared) is not UNSET


def _type_of(pair: Pair) -> str:
    return "str" if pair.is_text else "bool"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    # JSON's texts, numbers, true and false are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
