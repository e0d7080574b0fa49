r"""What must not leave the process: redaction rules, and the caller's own `before_send`.

    joinback.init(
        redact=[
            "inputs.ssn",
            Hash("inputs.email", key=os.environ["PSEUDONYM_KEY"]),
            Truncate("inputs.prompt", 200),
            Replace("outputs", r"\d{16}", "<card>"),
        ],
        before_send=lambda event: None if event["application"] == "internal" else event,
    )

A path is `inputs`, `outputs`, `feedback` or `tags` and the names below it, with dots; `*` is any name, or any
item of an array. Where a path leads nowhere there is nothing to do. Rules run in their order, then
`before_send`, all on a copy, before the event is buffered. What raises here drops the event: fail closed.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from . import events, wire
from .errors import ConfigurationError
from .events import PARTS, Refused

logger = logging.getLogger("joinback")

BeforeSend = Callable[[dict[str, Any]], dict[str, Any] | None]

HASH_HEX_DIGITS = 32
"""128 bits: no two of a billion values share one."""


class Drop(Struct, frozen=True):
    """Leave the value out; in an array, and for all of `inputs` or `outputs`, null stands in its place."""

    path: str


class Hash(Struct, frozen=True):
    """A pseudonym: HMAC-SHA256 of the value's JSON under `key`, 32 hex digits. Equal values stay equal."""

    path: str
    key: str

    def apply(self, value: Any) -> Any:
        if value is None:
            return None
        return hmac.new(self.key.encode(), msgspec.json.encode(value), hashlib.sha256).hexdigest()[:HASH_HEX_DIGITS]

    def __repr__(self) -> str:
        return f"Hash(path={self.path!r}, …)"


class Truncate(Struct, frozen=True):
    """Of each text there and below, the first `length` characters, and … where there were more."""

    path: str
    length: int

    def apply(self, value: Any) -> Any:
        return _texts(value, lambda text: text if len(text) <= self.length else text[: self.length] + "…")


class Replace(Struct, frozen=True):
    """In each text there and below, what the regular expression matches, as `re.sub` does."""

    path: str
    pattern: str
    replacement: str

    def apply(self, value: Any) -> Any:
        return _texts(value, lambda text: re.sub(self.pattern, self.replacement, text))


Rule = Drop | Hash | Truncate | Replace


class Hooks:
    """The rules and the hook of one client. Raises ConfigurationError for a rule that cannot be one."""

    def __init__(self, redact: Iterable[str | Rule], before_send: BeforeSend | None) -> None:
        if isinstance(redact, str):
            raise ConfigurationError(f"redact must be a list: [{redact!r}]")
        self._rules = [(rule, _checked(rule)) for rule in (Drop(r) if isinstance(r, str) else r for r in redact)]
        self._before_send = before_send

    def apply(self, application: str, join_key: str, field: str, event: wire.Event) -> bool:
        """Change the event as the rules say; False if `before_send` does not want it, or nothing is left of it.

        Raises Refused: `unencodable`, or `hook_failed` if a rule or the hook raised, or returned no event.
        """
        events.make_plain(event)
        kind, _, event_id = field.partition(":")
        parts = {part: getattr(event, part) for part in PARTS if hasattr(event, part)}
        try:
            for rule, path in self._rules:
                if path[1:] or not isinstance(rule, Drop):
                    _at(parts, path, rule)
                elif path[0] in parts:
                    parts[path[0]] = None
            if self._before_send is not None:
                shown: dict[str, Any] = {
                    "kind": kind,
                    "application": application,
                    "join_key": join_key,
                    "event_id": event_id,
                }
                shown |= {"version": event.version, "environment": event.environment}
                returned = self._before_send(shown | parts)
                if returned is None:
                    return False
                parts = {part: returned.get(part) for part in parts}
                event.version = events.text_of(returned.get("version"))
                event.environment = events.text_of(returned.get("environment"))
            if not isinstance(parts.get("tags", {}), dict) or not isinstance(parts.get("feedback", {}), dict):
                raise TypeError("tags and feedback must stay dicts")
        except Exception as error:
            logger.debug("joinback: a redaction or before_send failed", exc_info=True)
            # Not the error's text: it may quote what was to be hidden.
            raise Refused("hook_failed", f"redact or before_send raised {type(error).__name__}") from None
        for part, value in parts.items():
            setattr(event, part, value)
        # Feedback of which nothing is left says nothing.
        return parts.get("feedback") != {}


def _checked(rule: Any) -> Sequence[str]:
    """The path of a rule, as names."""
    if not isinstance(rule, Rule):
        raise ConfigurationError(f"redact takes paths and Drop, Hash, Truncate, Replace; not a {type(rule).__name__}")
    path = rule.path.split(".")
    if path[0] not in PARTS or "" in path:
        raise ConfigurationError(f"redact: {rule.path!r} is no path; begin with one of {', '.join(PARTS)}")
    if len(path) == 1 and path[0] in ("feedback", "tags"):
        raise ConfigurationError(f"redact: {rule.path!r} is all of it; name a field, such as {rule.path}.*")
    if isinstance(rule, Replace):
        try:
            re.compile(rule.pattern)
        except re.error as error:
            raise ConfigurationError(f"redact: {rule.pattern!r} is no regular expression: {error}") from None
    return path


def _at(holder: Any, path: Sequence[str], rule: Rule) -> None:
    """Apply a rule at the end of a path below this dict or list."""
    name, deeper = path[0], path[1:]
    if isinstance(holder, dict):
        names: Iterable[Any] = list(holder) if name == "*" else [name] if name in holder else []
    elif isinstance(holder, list):
        names = range(len(holder)) if name == "*" else [int(name)] if name.isdigit() and int(name) < len(holder) else []
    else:
        return
    for key in names:
        if deeper:
            _at(holder[key], deeper, rule)
        elif not isinstance(rule, Drop):
            holder[key] = rule.apply(holder[key])
        elif isinstance(holder, list):
            holder[key] = None
        else:
            del holder[key]


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _texts(item, change) for name, item in value.items()}
    return [_texts(item, change) for item in value] if isinstance(value, list) else value
