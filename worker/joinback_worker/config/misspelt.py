"""Names of the rules' file that nobody logs, beside names that are logged and not declared: most likely typos."""

from collections.abc import Collection, Iterator, Mapping

from joinback_worker.law.rules import Rules
from joinback_worker.nearest import nearest


def misspelt(rules: Mapping[str, Rules], seen: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield a line per name that is most likely wrong. `seen` are the fields told, by application that is logged."""
    unnamed = [application for application in seen if application not in rules]
    for application, own in sorted(rules.items()):
        if application not in seen:
            other = nearest(application, unnamed)
            fix = f"; did you mean {other!r}?" if other else ""
            yield f"rules are declared of {application!r}, which no client has logged yet{fix}"
            continue
        told = [name for name in seen[application] if name not in own.feedback]
        for name in own.feedback:
            if name not in seen[application] and (other := nearest(name, told)):
                yield (
                    f"{application}: rules declare {name!r}, which nobody told; did you mean {other!r},"
                    " which is told and has no rules?"
                )
