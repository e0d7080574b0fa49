"""Application names as people type them."""

import asyncio
from collections.abc import Collection

import click
from redis.exceptions import RedisError

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.nearest import nearest
from joinback_worker.notes.layouts import applications

from .show import printable


class UnknownApplication(JoinbackError):
    """No application has this name."""


async def known_applications(settings: Settings) -> Collection[str]:
    """Return what clients have announced. Raises what Redis raises."""
    redis = connect(settings)
    try:
        return await applications(redis)
    finally:
        await redis.aclose()


def warn_of_unknown(settings: Settings, names: Collection[str], what: str) -> None:
    """Warn on stderr of names that no client has announced: a worker may start before its service logs.

    `what` waits until they log: "this worker". Without Redis, nothing is printed.
    """
    try:
        known = asyncio.run(known_applications(settings)) if names else ()
    except (RedisError, OSError):
        return
    for name in names:
        if name not in known:
            hint = instead(name, known)
            stop = "" if hint.endswith("?") else "."
            line = f"joinback: no application {name}; {hint}{stop} {what} waits until an event of {name} comes."
            click.echo(printable(line, markup=False), err=True)


def check_known(names: Collection[str], known: Collection[str]) -> None:
    """Raise UnknownApplication, with the nearest name, for the first name that no client has announced."""
    for name in names:
        if name not in known:
            raise UnknownApplication(f"no application {name}; {instead(name, known)}")


def instead(name: str, known: Collection[str]) -> str:
    """Return the name that was most likely meant, or the names that exist."""
    near = nearest(name, known)
    if near:
        return f"did you mean {near}?"
    shown = sorted(known)[:10]
    return (
        f"known are {', '.join(shown)}" + (" …" if len(known) > 10 else "")
        if shown
        else "no application has logged yet"
    )
