"""The known name that was most likely meant."""

import difflib
from collections.abc import Iterable

RATIO_MIN = 0.6
"""Of difflib's ratio: bougth is near bought. For a hint; what refuses on it asks for more."""
TYPO_RATIO_MIN = 0.75
"""Near enough to refuse a name, or to warn of it: repayed for repaid, not paid_at for paid."""


def nearest(name: str, known: Iterable[str], ratio_min: float = RATIO_MIN) -> str | None:
    """Return the most alike of the known names, whatever their case; None if none is."""
    by_folded = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=ratio_min)
    return by_folded[found[0]] if found else None
