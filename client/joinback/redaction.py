r"""What must not leave the process: redaction rules, and the caller's own `before_send`::

    joinback.init(
        redact=[
            "inputs.ssn",
            Hash("inputs.email", key=os.environ["PSEUDONYM_KEY"]),
            Hash("join_key", key=os.environ["PSEUDONYM_KEY"]),
            Truncate("inputs.prompt", 200),
            Replace("outputs", r"\b(?:\d[ -]?){15}\d\b", "<card>", numbers=True),
        ],
        before_send=lambda event: None if event["application"] == "internal" else event,
    )

A path is `inputs`, `outputs`, `feedback` or `tags` and the names below it, with dots; `*` is any name, or any
item of an array. `join_key` is a path for `Hash` alone: predictions and feedback are then stored, sampled and
joined under the pseudonym, while calls take and return the caller's own key.

A path that leads nowhere hides nothing. A rule that found nothing in a hundred events is told once in the log,
and `preview` shows what would leave. Truncate and Replace change text only: not numbers (but see `numbers`), and
never the names in a dict, which are for `Drop` or `before_send`.

Rules run in their order, then `before_send`, all on a copy, before the event is buffered. What raises here drops
the event: fail closed. `before_send` gets `kind`, `application`, `join_key`, `event_id`, `version`, `environment`
and the parts the event has. In what it returns, a part that is missing is unchanged and None takes it out; a
changed `kind`, `application`, `join_key` or `event_id`, or a name that is none of these, drops the event.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import events, log, wire
from .drops import NotLogged
from .errors import ConfigurationError
from .events import PARTS
from .redaction_rules import JOIN_KEY, Drop, Hash, Replace, Rule, Truncate, at, checked, found, is_touched

if TYPE_CHECKING:
    from .testing import Event

__all__ = ["BeforeSend", "Drop", "Hash", "Hooks", "Replace", "Rule", "Truncate", "preview"]

BeforeSend = Callable[[dict[str, Any]], dict[str, Any] | None]

WATCHED_EVENTS = 100
"""As many with a rule's part and not one match: then the path is misspelt, or meant for rare events."""


class Hooks:
    """The rules and the hook of one client. Raises ConfigurationError for a rule that cannot be one."""

    def __init__(self, redact: Iterable[str | Rule], before_send: BeforeSend | None) -> None:
        if isinstance(redact, str):
            raise ConfigurationError(f"redact must be a list: [{redact!r}]")
        if before_send is not None and not callable(before_send):
            raise ConfigurationError(f"before_send must be a function, not {type(before_send).__name__}")
        rules = [(rule, checked(rule)) for rule in (Drop(r) if isinstance(r, str) else r for r in redact)]
        self._key_rules = [rule for rule, path in rules if isinstance(rule, Hash) and path == [JOIN_KEY]]
        self._rules = [(rule, path) for rule, path in rules if path != [JOIN_KEY]]
        self._before_send = before_send
        # Rule -> how many events had its part, but nothing at its path; those that matched once are gone.
        self._unmatched = {id(rule): 0 for rule, _ in self._rules}

    def stored_key(self, join_key: str) -> str:
        """Return the join key as it may leave the process."""
        for rule in self._key_rules:
            join_key = rule.apply(join_key)
        return join_key

    def unmatched(self) -> list[str]:
        """Return the paths that led nowhere so far."""
        return [rule.path for rule, _ in self._rules if id(rule) in self._unmatched]

    def apply(self, application: str, join_key: str, field: str, event: wire.Event) -> bool:
        """Change the event as the rules say; False if `before_send` does not want it, or nothing is left of it.

        `join_key` is the stored one. Raises NotLogged: `unencodable`, or `hook_failed` if a rule or the hook
        raised, or returned no event or another one.
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
                # Dicts of its own: it may change them in place.
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
            # Not the error's text: it may quote what was to be hidden.
            raise NotLogged("hook_failed", f"redact or before_send raised {type(error).__name__}") from None
        for part, value in parts.items():
            setattr(event, part, value)
        # Feedback of which nothing is left says nothing.
        return parts.get("feedback") != {}

    def _watch(self, rule: Rule, path: Sequence[str], parts: Mapping[str, Any]) -> None:
        """Count an event in which the rule finds nothing, and tell of it once; costs nothing once all have matched."""
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


def preview(
    record: Mapping[str, Any], *, redact: Iterable[str | Rule] = (), before_send: BeforeSend | None = None
) -> "list[Event]":
    """Return what would leave the process of one call: its events as `joinback.testing.capture` shows them.

    `record` holds the arguments of `log_record`: `{"inputs": …, "outputs": …}`; `application` may be left out.
    Nothing is sent. Rules that find nothing in it are told in the log. Raises InvalidEvent for a record that
    cannot be logged, ConfigurationError for a rule that cannot be one.
    """
    from ._delivery import Funnel
    from .client import Client  # which imports this module where there are rules
    from .options import Options
    from .testing import capture

    client, hooks = Client(), Hooks(redact, before_send)
    client._funnel = Funnel(Options(hooks=hooks))
    with capture(client) as captured:
        client.log_record(**{"application": "preview", **record})
    for path in hooks.unmatched():
        log.warning(f"joinback: redact: {path!r} finds nothing to hide in this record")
    return captured


def _returned(
    returned: Any, identity: Mapping[str, str], names: Mapping[str, Any], parts: Mapping[str, Any]
) -> dict[str, Any]:
    """The parts after `before_send`. Raises NotLogged if it returned another event, or none."""
    if not isinstance(returned, Mapping):
        raise NotLogged("hook_failed", f"before_send returned a {type(returned).__name__}; return the event, or None")
    for name, value in identity.items():
        if returned.get(name, value) != value:
            fix = "use Hash('join_key', key=…)" if name == JOIN_KEY else "return None and log another event"
            raise NotLogged("hook_failed", f"before_send changed {name}, which names the event; {fix}")
    # A misspelt part would let the true one out.
    if strange := [name for name in returned if name not in identity and name not in names and name not in parts]:
        known = ", ".join([*names, *parts])
        raise NotLogged("hook_failed", f"before_send returned {len(strange)} unknown names; it may change {known}")
    after = {part: returned.get(part, value) for part, value in parts.items()}
    for part in ("tags", "feedback"):
        if part in after and after[part] is None:
            after[part] = {}
        if not isinstance(after.get(part, {}), dict):
            raise NotLogged("hook_failed", f"before_send returned {part} as no dict")
    return after


def _fix(rule: Rule) -> str:
    where = (
        "the path leads nowhere, or to no text" if isinstance(rule, Truncate | Replace) else "the path leads nowhere"
    )
    return f"{where}; check it with joinback.redaction.preview"
