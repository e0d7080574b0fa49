"""What a client does to each event before it is buffered: its rules of redaction, then the caller's `before_send`.

`joinback.redaction` says what callers may write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import events, log, wire
from .drops import NotLogged
from .errors import ConfigurationError
from .events import PARTS
from .redaction_rules import JOIN_KEY, Drop, Hash, Replace, Rule, Truncate, at, checked, found, is_touched

BeforeSend = Callable[[dict[str, Any]], dict[str, Any] | None]

WATCHED_EVENTS = 100
"""If a rule matches in none of so many events that have its part, its path is misspelt, or meant for rare events."""


class Hooks:
    """The rules and the hook of one client. Raises ConfigurationError for a wrong rule or hook."""

    def __init__(self, redact: Iterable[str | Rule], before_send: BeforeSend | None) -> None:
        if isinstance(redact, str):
            raise ConfigurationError(f"redact must be a list: [{redact!r}]")
        if before_send is not None and not callable(before_send):
            raise ConfigurationError(f"before_send must be a function, not {type(before_send).__name__}")
        rules = [(rule, checked(rule)) for rule in (Drop(r) if isinstance(r, str) else r for r in redact)]
        self._key_rules = [rule for rule, path in rules if isinstance(rule, Hash) and path == [JOIN_KEY]]
        self._rules = [(rule, path) for rule, path in rules if path != [JOIN_KEY]]
        self._before_send = before_send
        # Rule -> in how many events with its part it matched nothing. A rule that matched once is not here any more.
        self._unmatched = {id(rule): 0 for rule, _ in self._rules}

    def stored_key(self, join_key: str) -> str:
        """Return the join key under which the event is stored: the pseudonym, if a rule hashes it."""
        for rule in self._key_rules:
            join_key = rule.apply(join_key)
        return join_key

    def unmatched(self) -> list[str]:
        """Return the paths of the rules that matched nothing so far."""
        return [rule.path for rule, _ in self._rules if id(rule) in self._unmatched]

    def apply(self, application: str, join_key: str, field: str, event: wire.Event) -> bool:
        """Change the event by the rules and the hook. Return False if it is to be dropped as `filtered`.

        It is if `before_send` returned None, or no field of its feedback is left. `join_key` is the stored one. Raises
        NotLogged: `unencodable`, or `hook_failed` if a rule or the hook raised, or the hook returned a wrong event.
        """
        events.make_plain(event)
        kind, _, event_id = field.partition(":")
        parts: dict[str, Any] = {part: getattr(event, part) for part in PARTS if hasattr(event, part)}
        try:
            for rule, path in self._rules:
                if self._unmatched:
                    self._watch(rule, path, parts)
                if path[1:] or not isinstance(rule, Drop):
                    at(parts, path, rule)
                elif path[0] in parts:
                    parts[path[0]] = None
            if self._before_send is not None:
                identity = {"kind": kind, "application": application, "join_key": join_key, "event_id": event_id}
                names = {"version": event.version, "environment": event.environment}
                # A new dict: the hook may change it in place.
                returned = self._before_send(identity | names | parts)
                if returned is None:
                    return False
                parts = _returned(returned, identity, names, parts)
                event.version = events.text_of(returned.get("version", event.version))
                event.environment = events.text_of(returned.get("environment", event.environment))
        except NotLogged:
            raise
        except Exception as error:
            log.debug("joinback: a redaction or before_send failed", fault=error)
            # Without the error's text, which may quote what the rule hides.
            raise NotLogged("hook_failed", f"redact or before_send raised {type(error).__name__}") from None
        for part, value in parts.items():
            setattr(event, part, value)
        # Feedback without a field has no meaning.
        return parts.get("feedback") != {}

    def _watch(self, rule: Rule, path: Sequence[str], parts: Mapping[str, Any]) -> None:
        """Count an event in which the rule matches nothing, and log that once."""
        number = self._unmatched.get(id(rule))
        if number is None or not parts.get(path[0]):
            return
        if any(is_touched(value, rule) for value in found(parts, path)):
            self._unmatched.pop(id(rule), None)
            return
        self._unmatched[id(rule)] = number + 1
        if number + 1 == WATCHED_EVENTS:
            what = f"found nothing to hide in {WATCHED_EVENTS} events"
            log.warning(f"joinback: redact: {rule.path!r} {what}; {_fix(rule)}")


def _returned(
    returned: Any, identity: Mapping[str, str], names: Mapping[str, Any], parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parts after `before_send`. Raises NotLogged if it returned another event, or what is not an event."""
    if not isinstance(returned, Mapping):
        raise NotLogged("hook_failed", f"before_send returned a {type(returned).__name__}; return the event, or None")
    for name, value in identity.items():
        if returned.get(name, value) != value:
            fix = "use Hash('join_key', key=…)" if name == JOIN_KEY else "return None and log another event"
            raise NotLogged("hook_failed", f"before_send changed {name}, which names the event; {fix}")
    # If a part is misspelt, the one with the right name would leave unchanged.
    if strange := [name for name in returned if name not in identity and name not in names and name not in parts]:
        known = ", ".join([*names, *parts])
        raise NotLogged("hook_failed", f"before_send returned {len(strange)} unknown names; it may change {known}")
    after = {part: returned.get(part, value) for part, value in parts.items()}
    for part in ("tags", "feedback"):
        if part in after and after[part] is None:
            after[part] = {}
        if not isinstance(after.get(part, {}), dict):
            raise NotLogged("hook_failed", f"before_send returned {part} that is not a dict")
    return after


def _fix(rule: Rule) -> str:
    where = (
        "the path leads nowhere, or not to text" if isinstance(rule, Truncate | Replace) else "the path leads nowhere"
    )
    return f"{where}; check it with joinback.redaction.preview"
