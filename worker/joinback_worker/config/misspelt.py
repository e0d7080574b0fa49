"""Find likely typos in the rules' file: names that nobody logs, and are like names that are logged without rules."""

from collections.abc import Collection, Iterator, Mapping

from joinback_worker.law.rules import Rules
from joinback_worker.nearest import nearest


def misspelt(rules: Mapping[str, Rules], seen: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """Yield what is likely wrong, and what to correct, for each name.

    `rules`: by application of the file. `seen`: application that has logged -> its feedback fields.
    """
    without_rules = [application for application in seen if application not in rules]
    for application, own in sorted(rules.items()):
        if application not in seen:
            other = nearest(application, without_rules)
            says = f"the rules declare {application!r}, but no client has logged it yet"
            known = f"; clients log {other!r}, which has no rules" if other else ""
            yield f"{says}{known}", f"correct {application!r}" + (f" to {other!r}" if other else "")
            continue
        undeclared = [name for name in seen[application] if name not in own.feedback]
        for name in own.feedback:
            if name not in seen[application] and (other := nearest(name, undeclared)):
                yield (
                    f"{application}: the rules declare {name!r}, but no event has it; events have {other!r}, which has"
                    " no rules",
                    f"correct {name!r} to {other!r}, or correct what the sender logs; the rules are",
                )
