"""The redaction rules, and how a path is followed."""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from .errors import ConfigurationError
from .events import PARTS

JOIN_KEY = "join_key"
HASH_HEX_DIGITS = 32
"""128 bits: among a billion values no two share a pseudonym."""


class Drop(Struct, frozen=True):
    """Leave the value out. In an array, and for all of `inputs` or `outputs`, null takes its place."""

    path: str


class Hash(Struct, frozen=True):
    """Replace the value by a pseudonym: 32 hex digits of HMAC-SHA256 of its JSON under `key`.

    Equal values get equal pseudonyms. None stays None.
    """

    path: str
    key: str

    def apply(self, value: Any) -> Any:
        if value is None:
            return None
        return hmac.new(self.key.encode(), msgspec.json.encode(value), hashlib.sha256).hexdigest()[:HASH_HEX_DIGITS]

    def __repr__(self) -> str:
        return f"Hash(path={self.path!r}, …)"


class Truncate(Struct, frozen=True):
    """Shorten each text there and below to its first `length` characters; where there were more, … follows."""

    path: str
    length: int

    def apply(self, value: Any) -> Any:
        return _texts(value, lambda text: text if len(text) <= self.length else text[: self.length] + "…")


class Replace(Struct, frozen=True):
    """Replace what the regular expression `pattern` matches in each text there and below, as `re.sub` does.

    With `numbers`, also in each number as JSON writes it. A number that changes becomes text.
    """

    path: str
    pattern: str
    replacement: str
    numbers: bool = False

    def apply(self, value: Any) -> Any:
        return _texts(value, lambda text: re.sub(self.pattern, self.replacement, text), self.numbers)


Rule = Drop | Hash | Truncate | Replace


def checked(rule: Any) -> list[str]:
    """Return the path of a rule, as a list of names. Raises ConfigurationError for a wrong rule."""
    if not isinstance(rule, Rule):
        raise ConfigurationError(f"redact takes paths and Drop, Hash, Truncate, Replace; not a {type(rule).__name__}")
    path = str(rule.path).split(".")
    if path == [JOIN_KEY] and not isinstance(rule, Hash):
        raise ConfigurationError('redact: a join key can only be hashed: Hash("join_key", key=…)')
    if path != [JOIN_KEY] and (path[0] not in PARTS or "" in path):
        raise ConfigurationError(f"redact: {rule.path!r} is not a path; begin with one of {', '.join(PARTS)}")
    if len(path) == 1 and path[0] in ("feedback", "tags"):
        raise ConfigurationError(f"redact: {rule.path!r} is the whole dict; name a field, such as {rule.path}.*")
    if isinstance(rule, Hash) and not (isinstance(rule.key, str) and rule.key):
        raise ConfigurationError(f"redact: the key of the Hash of {rule.path!r} must be text, and not empty")
    if isinstance(rule, Replace):
        try:
            re.compile(rule.pattern)
        except re.error as error:
            raise ConfigurationError(f"redact: {rule.pattern!r} is not a regular expression: {error}") from None
    return path


def _names(holder: Any, name: str) -> Iterable[Any]:
    """Return the keys of a dict, or the indices of a list, that this name in a path matches."""
    if isinstance(holder, dict):
        return list(holder) if name == "*" else [name] if name in holder else []
    if isinstance(holder, list):
        return range(len(holder)) if name == "*" else [int(name)] if name.isdigit() and int(name) < len(holder) else []
    return []


def found(holder: Any, path: Sequence[str]) -> Iterable[Any]:
    """Yield each value to which a path leads."""
    for key in _names(holder, path[0]):
        if path[1:]:
            yield from found(holder[key], path[1:])
        else:
            yield holder[key]


def is_touched(value: Any, rule: Rule) -> bool:
    """Return whether the rule applies to this value: Truncate and Replace apply where there is text."""
    if not isinstance(rule, Truncate | Replace):
        return True
    seen: list[str] = []

    def look(text: str) -> str:
        seen.append(text)
        return text

    _texts(value, look, isinstance(rule, Replace) and rule.numbers)
    return bool(seen)


def at(holder: Any, path: Sequence[str], rule: Rule) -> None:
    """Apply a rule where a path from this dict or list leads."""
    name, deeper = path[0], path[1:]
    for key in _names(holder, name):
        if deeper:
            at(holder[key], deeper, rule)
        elif not isinstance(rule, Drop):
            holder[key] = rule.apply(holder[key])
        elif isinstance(holder, list):
            holder[key] = None
        else:
            del holder[key]


def _texts(value: Any, change: Callable[[str], str], numbers: bool = False) -> Any:
    """Return the value with `change` applied to each text in it; with `numbers`, also to each number's JSON."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _texts(item, change, numbers) for name, item in value.items()}
    if isinstance(value, list):
        return [_texts(item, change, numbers) for item in value]
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        text = msgspec.json.encode(value).decode()
        changed = change(text)
        return value if changed == text else changed
    return value
