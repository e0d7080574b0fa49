"""Which file serves a sink's URL: one of ours by its scheme, or another package's by its entry point."""

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import cast

from joinback.errors import ConfigurationError
from joinback.urls import shown_url

from .place import DEFAULT_URL, check_login, path_of

# scheme -> module of this package
SCHEMES = {
    "embedded": "sqlite",
    "sqlite": "sqlite",
    "postgresql": "postgres",
    "postgres": "postgres",
    "clickhouse": "clickhouse",
    "clickhouses": "clickhouse",
    "chdb": "clickhouse",
    "delta": "delta",
    "delta+s3": "delta",
    "parquet": "parquet",
    "jsonl": "jsonl",
    "stdout": "stdout",
}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_EXTRAS = {"postgres": "postgres", "clickhouse": "clickhouse", "delta": "delta", "parquet": "parquet"}


_ONE_WRITER = frozenset({"embedded", "sqlite", "chdb", "stdout"})
"""One file has one write lock, and one process one engine: several writers would only wait for each other."""
WRITERS_MAX = 4
"""More do not pay: beyond it one worker's Python is the limit, and each holds a connection and a chunk."""

ENTRY_POINTS = "joinback.sinks"
"""The group in which an installed package offers a sink: the entry point's name is the scheme, its value a module with
`open_url(url, policy) -> Sink` and `schema(url, settings) -> str`; for a server `place`, and maybe `compact`. A scheme
of ours is never taken by another package."""


def module_of(url: str) -> ModuleType:
    """Return the file that serves a URL: `open_url`, `schema`, for a server `place`, and maybe `compact`.

    Raises ConfigurationError for a URL nobody serves, or whose login cannot be told from its host.
    """
    # Not urlsplit: it trips over what a password may hold.
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES and scheme not in _offered():
        # Without a `://` it may be anything, a password too.
        raise ConfigurationError(
            "JOINBACK_SINK_URL"
            + (" is empty" if not url else f" starts with {scheme!r}" if _SCHEME.match(url) else " is no URL of a sink")
            + f"; known are: {', '.join([*SCHEMES, *_offered()])} (such as sqlite:////var/lib/joinback.db)"
        )
    check_login(url)
    if scheme not in SCHEMES:
        return _loaded(_offered()[scheme])
    try:
        return import_module(f".{SCHEMES[scheme]}", __package__)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(SCHEMES[scheme])
        if extra is None or (error.name or "").startswith(str(__package__)):
            raise
        raise ConfigurationError(
            f"a sink at {scheme}: needs its driver; in Joinback's clone: pip install '.[{extra}]'"
        ) from None


@cache
def _offered() -> dict[str, EntryPoint]:
    """Return the sinks of other packages by scheme: looked up once, as that reads every installed package."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _loaded(entry: EntryPoint) -> ModuleType:
    try:
        return cast(ModuleType, entry.load())
    except Exception as error:
        package = entry.dist.name if entry.dist is not None else entry.value
        raise ConfigurationError(
            f"the sink {entry.name}: of the package {package} cannot be loaded ({type(error).__name__});"
            f" try: python -c 'import {entry.module}'"
        ) from None


def place_of(url: str) -> tuple[str, ...]:
    """Return what makes a sink this one and no other: no login, and no option that does not move its rows."""
    path = path_of(url)
    if path is not None:
        return url.partition(":")[0].replace(DEFAULT_URL[:-1], "sqlite"), str(path.resolve())
    module = module_of(url)
    return cast(Callable[[str], tuple[str, ...]], module.place)(url) if hasattr(module, "place") else (shown_url(url),)


def writers_max(url: str) -> int:
    """Return how many drains one worker should run at once into this sink."""
    return 1 if url.partition(":")[0] in _ONE_WRITER else WRITERS_MAX
