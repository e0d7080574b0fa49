"""Which outputs are quantiles of a number by their names: p5, p05, p97.5, p995, q0.9, quantile_90. Pure."""

import re

_NAME = re.compile(
    r"(?:p|q|quantile_?)(?:(?P<share>0?\.\d+)|(?P<percent>\d{1,2}(?:\.\d+)?|100)|(?P<mille>\d{3}))$", re.I
)


def is_quantile(name: str) -> bool:
    """Return whether the name is that of a quantile; also of p0 and p100, the smallest and the largest value."""
    return _NAME.match(name) is not None


def share_of(name: str) -> float | None:
    """Return the share of labels that should be at most this output. None: no quantile, or one without such a share.

    p0 and p100 have none: no label need be below the one or above the other.
    """
    found = _NAME.match(name)
    if found is None:
        return None
    if found["share"]:
        share = float(found["share"])
    else:
        share = float(f"{found['percent']}e-2" if found["percent"] else f"{found['mille']}e-3")
    return share if 0 < share < 1 else None
