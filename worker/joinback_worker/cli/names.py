"""Application names as people type them."""

import difflib
from collections.abc import Collection

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.drains import connect
from joinback_worker.source import applications


class UnknownApplication(JoinbackError):
    """No application has this name."""


async def known_applications(settings: Settings) -> Collection[str]:
    """Return what clients have announced. Raises what Redis raises."""
    redis = connect(settings)
    try:
        return await applications(redis)
    finally:
        await redis.aclose()


def check_known(names: Collection[str], known: Collection[str]) -> None:
    """Raise UnknownApplication, with the nearest name, for the first that no client has announced."""
    for name in names:
        if name not in known:
            raise UnknownApplication(f"no application {name}; {_instead(name, known)}")


def _instead(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    shown = sorted(known)[:10]
    return f"known are {', '.join(shown)}" + (" …" if len(known) > 10 else "") if shown else "none has logged yet"
