"""Find likely typos in the rules' file: names that nobody logs, and are like names that are logged without rules."""

from collections.abc import Collection, Iterator, Mapping

from joinback_worker.law.rules import Rules
from joinback_worker.nearest import nearest


def misspelt(rules: Mapping[str, Rules], seen: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield one line for each name that is likely wrong.

    `rules`: by application of the file. `seen`: application that has logged -> its feedback fields.
    """
    without_rules = [application for application in seen if application not in rules]
    for application, own in sorted(rules.items()):
        if application not in seen:
            other = nearest(application, without_rules)
            fix = f"; did you mean {other!r}?" if other else ""
            yield f"rules are declared for {application!r}, which no client has logged yet{fix}"
            continue
        undeclared = [name for name in seen[application] if name not in own.feedback]
        for name in own.feedback:
            if name not in seen[application] and (other := nearest(name, undeclared)):
                yield (
                    f"{application}: rules declare {name!r}, which no feedback has; did you mean {other!r},"
                    " which feedback has and which has no rules?"
                )
