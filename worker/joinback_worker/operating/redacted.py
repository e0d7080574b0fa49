"""What of a record looks as if a rule of `redact` had changed it. Pure.

Events do not name the rules: those stand in the code of the service. But each rule leaves a form of its own.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .explanation import Moment

PATHS_MAX = 5
"""The paths that are named: enough to see that there are rules."""
_PARTS = ("inputs", "outputs", "feedback", "tags")
_PSEUDONYM = re.compile(r"[0-9a-f]{32}", re.ASCII)
"""`Hash` writes 32 hex digits."""


def redacted(moments: Iterable[Moment]) -> list[str]:
    """Return the paths of the values that look redacted, each with the rule that leaves such a value; no value."""
    found: dict[str, None] = {}
    for moment in moments:
        if moment.where in ("redis", "sink") and moment.detail.startswith("{"):
            found |= dict.fromkeys(_of_event(moment.detail))
    paths = list(found)
    more = len(paths) - PATHS_MAX
    return paths[:PATHS_MAX] + ([f"and {more} more"] if more > 0 else [])


def _of_event(text: str) -> Iterator[str]:
    try:
        event = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return  # torn, which the verdict says
    for part in _PARTS:
        if part in event:
            yield from _of_value(event[part], part)


def _of_value(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _of_value(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _of_value(item, f"{path}.*")
    elif value is None and path in _PARTS:
        yield f"{path} (null, as Drop leaves the whole of it)"
    elif isinstance(value, str) and _PSEUDONYM.fullmatch(value):
        yield f"{path} (32 hex digits, as Hash writes)"
    elif isinstance(value, str) and value.endswith("…"):
        yield f"{path} (ends in …, as Truncate does)"
