"""What the rules of the application say of an import: the types of its columns, and which labels would be dropped."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Raw

from joinback import wire
from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of
from joinback_worker.law.declared import trouble_with
from joinback_worker.law.rules import Rules
from joinback_worker.nearest import TYPO_RATIO_MIN, nearest

from .plan import Label, Roles


class Ruling:
    """The rules of one application, as an import needs them."""

    def __init__(self, rules: Rules, declared_in: str = "") -> None:
        """`declared_in` is the name of their file."""
        self._rules = rules
        self.declared_in = declared_in
        self._window = timedelta(seconds=rules.join_window_s)

    def types(self, roles: Roles) -> dict[str, str]:
        """Return column -> kind, where all of its fields are declared alike; not of what is a part of the key."""
        kinds: dict[str, set[str | None]] = {}
        for name, column in roles.fields.items():
            field = self._rules.feedback.get(name)
            kinds.setdefault(column, set()).add(field.scalar if field is not None else None)
        used = {roles.at, *roles.key_fields.values()}
        alike = {column: next(iter(found)) for column, found in kinds.items() if len(found) == 1 and column not in used}
        return {column: kind for column, kind in alike.items() if kind is not None}

    def doubts(self, roles: Roles, told_by: str | None) -> Iterator[str]:
        """Yield what a person should look at: names that are nearly those of the rules."""
        declared = self._rules.feedback
        for name in roles.fields:
            if name not in declared and (near := nearest(name, list(declared), TYPO_RATIO_MIN)):
                yield f"{self.declared_in} declares no field {name!r}; did you mean {near!r}?"
        ranked = {name: field.sources for name, field in declared.items() if field.sources and name in roles.fields}
        known = list(dict.fromkeys(source for sources in ranked.values() for source in sources))
        if told_by is not None and known and told_by not in known:
            near = nearest(told_by, known, TYPO_RATIO_MIN)
            hint = f"did you mean {near!r}?" if near else f"they rank {', '.join(known)}"
            yield f"no sources of {', '.join(ranked)} name {told_by!r}, so all others come before it; {hint}"

    def breach(self, label: Label) -> str | None:
        """Return how the label breaks what a strict field declares: the worker would make it a dead letter."""
        for name in sorted(label.fields.keys() & self._rules.strict):
            value = Raw(wire.encode(label.fields[name]))
            if trouble := trouble_with(self._rules.feedback[name], value):
                return f"{name} {trouble}, and {self.declared_in} is strict of it"
        return None

    def lateness(self, label: Label, predicted_at: datetime) -> str | None:
        """Return how late the label is for the join window of its prediction."""
        late = label.at - predicted_at - self._window
        if late <= timedelta(0):
            return None
        days = self._rules.join_window_s / 86_400
        return f"{label.key}: {late.total_seconds():,.0f} s after the join window of its prediction ({days:g} days)"


def ruling_of(settings: Settings, application: str) -> Ruling:
    """Return what the settings' file says. Raises ConfigurationError for what is wrong with it."""
    config = config_of(settings)
    return Ruling(config.rules_of(application), Path(config.path).name if config.path else "")
