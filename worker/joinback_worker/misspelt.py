"""Names of the rules' file that nobody logs, beside names that are logged and not declared: most likely typos."""

import difflib
from collections.abc import Collection, Iterator, Mapping

from .rules import Rules

_NEAR = 0.6
"""Of difflib's ratio: bougth is near bought."""


def near(name: str, names: Collection[str]) -> str | None:
    """Return the most alike of these names, whatever their case; None if none is."""
    by_folded = {other.casefold(): other for other in names}
    found = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=_NEAR)
    return by_folded[found[0]] if found else None


def misspelt(rules: Mapping[str, Rules], seen: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield a line per name that is most likely wrong. `seen` are the fields told, by application that is logged."""
    unnamed = [application for application in seen if application not in rules]
    for application, own in sorted(rules.items()):
        if application not in seen:
            other = near(application, unnamed)
            fix = f"; did you mean {other!r}?" if other else ""
            yield f"rules are declared of {application!r}, which no client has logged yet{fix}"
            continue
        told = [name for name in seen[application] if name not in own.feedback]
        for name in own.feedback:
            if name not in seen[application] and (other := near(name, told)):
                yield (
                    f"{application}: rules declare {name!r}, which nobody told; did you mean {other!r},"
                    " which is told and has no rules?"
                )
