"""Find the known name that a misspelt one most likely means."""

import difflib
from collections.abc import Iterable

RATIO_MIN = 0.6
"""The least of difflib's ratio that is worth a hint: bougth is near bought. A refusal needs TYPO_RATIO_MIN."""
TYPO_RATIO_MIN = 0.75
"""Near enough to refuse a name, or to warn about it: repayed is near repaid, paid_at is not near paid."""


def nearest(name: str, known: Iterable[str], ratio_min: float = RATIO_MIN) -> str | None:
    """Return the known name that is most like this one, whatever the case; None if none is alike enough.

    `ratio_min` is a ratio of `difflib.SequenceMatcher`, from 0 to 1.
    """
    by_folded = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=ratio_min)
    return by_folded[found[0]] if found else None


def likeness(name: str, other: str) -> float:
    """Return how like two names are, whatever the case: difflib's ratio, from 0 to 1."""
    return difflib.SequenceMatcher(None, other.casefold(), name.casefold()).ratio()
