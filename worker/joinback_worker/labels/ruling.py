"""The rules of the application, as an import needs them: the types of columns, and the labels that would be dropped."""

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
        """`declared_in` is the name of the rules' file."""
        self._rules = rules
        self.declared_in = declared_in
        self._window = timedelta(seconds=rules.join_window_s)

    def types(self, roles: Roles) -> dict[str, str]:
        """Return column -> kind of the columns whose fields are all declared with the same type.

        Columns of the time and of the key are left out.
        """
        kinds: dict[str, set[str | None]] = {}
        for name, column in roles.fields.items():
            field = self._rules.feedback.get(name)
            kinds.setdefault(column, set()).add(field.scalar if field is not None else None)
        used = {roles.at, *roles.key_fields.values()}
        alike = {column: next(iter(found)) for column, found in kinds.items() if len(found) == 1 and column not in used}
        return {column: kind for column, kind in alike.items() if kind is not None}

    def doubts(self, roles: Roles, feedback_source: str | None) -> Iterator[str]:
        """Yield what a person should look at: names that the rules do not have, if they have similar ones."""
        declared = self._rules.feedback
        for name in roles.fields:
            if name not in declared and (near := nearest(name, list(declared), TYPO_RATIO_MIN)):
                yield f"{self.declared_in} declares no field {name!r}; did you mean {near!r}?"
        ranked = {name: field.sources for name, field in declared.items() if field.sources and name in roles.fields}
        known = list(dict.fromkeys(source for sources in ranked.values() for source in sources))
        if feedback_source is not None and known and feedback_source not in known:
            near = nearest(feedback_source, known, TYPO_RATIO_MIN)
            hint = f"did you mean {near!r}?" if near else f"they rank {', '.join(known)}"
            yield f"no sources of {', '.join(ranked)} name {feedback_source!r}, so all others come before it; {hint}"

    def breach(self, label: Label) -> str | None:
        """Return how the label breaks the declaration of a strict field; None if it does not.

        The worker would make a dead letter of such a label.
        """
        for name in sorted(label.fields.keys() & self._rules.strict):
            value = Raw(wire.encode(label.fields[name]))
            if trouble := trouble_with(self._rules.feedback[name], value):
                return f"{name} {trouble}, and {self.declared_in} declares it strict"
        return None

    def lateness(self, label: Label, predicted_at: datetime) -> str | None:
        """Return how late the label is for the join window of its prediction; None if it is in time."""
        late = label.at - predicted_at - self._window
        if late <= timedelta(0):
            return None
        days = self._rules.join_window_s / 86_400
        return f"{label.key}: {late.total_seconds():,.0f} s after the join window of its prediction ({days:g} days)"


def ruling_of(settings: Settings, application: str) -> Ruling:
    """Return the rules of the application in the settings' file. Raises ConfigurationError if the file is wrong."""
    config = config_of(settings)
    return Ruling(config.rules_of(application), Path(config.path).name if config.path else "")
