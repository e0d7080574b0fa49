"""Which module serves a sink's URL: one of ours, or one of another package by its entry point. The scheme decides."""

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import cast

from joinback.errors import ConfigurationError
from joinback.urls import shown_url

from .place import DEFAULT_URL, check_login, check_slashes, path_of

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
"""Scheme -> module of this package."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_EXTRAS = {"postgres": "postgres", "clickhouse": "clickhouse", "delta": "delta", "parquet": "parquet"}
"""Module -> extra of our distribution that installs its driver."""

_ONE_WRITER = frozenset({"embedded", "sqlite", "chdb", "stdout"})
"""Schemes with one writer at a time: several would only wait for the lock of the file, or for the engine."""
WRITERS_MAX = 4
"""More writers of one worker do not pay: Python is then the limit, and each holds a connection and a batch."""

ENTRY_POINTS = "joinback.sinks"
"""The group of entry points in which an installed package offers a sink. The name of the entry point is the scheme. Its
value is a module with these functions:

- `open_url(url, policy) -> Sink`: return the sink, not entered yet. It must not connect. Raise ConfigurationError for a
  wrong URL. Most sinks derive from `merge_on_read.MergeOnRead` (a store of events) or `merge_on_write.MergeOnWrite` (a
  store of rows).
- `schema(url, settings) -> str`: return what `joinback sink schema` prints: statements that create tables or views.
- `place(url) -> tuple[str, ...]`, optional: return what tells this sink from others, without login and without options
  that do not move its rows. By default it is the URL without its password.
- `compact(url) -> str`, optional: do what `joinback sink compact` should do, and return one line on it.

The worker runs up to `WRITERS_MAX` drains at once, each with a sink of its own. Another package cannot take a scheme of
ours.
"""


def module_of(url: str) -> ModuleType:
    """Return the module that serves a URL; `ENTRY_POINTS` lists its functions.

    Raises ConfigurationError if no module serves the URL, its driver is not installed, its login is not encoded, or its
    path is ambiguous.
    """
    # Not by urlsplit: it fails on some characters of a password.
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES and scheme not in _offered():
        # Without `://` the text may be anything, even a password, so do not show it.
        raise ConfigurationError(
            "JOINBACK_SINK_URL"
            + (
                " is empty"
                if not url
                else f" starts with {scheme!r}"
                if _SCHEME.match(url)
                else " is not the URL of a sink"
            )
            + f"; known are: {', '.join([*SCHEMES, *_offered()])} (such as sqlite:////var/lib/joinback.db)"
        )
    check_login(url)
    check_slashes(url)
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
    """Return scheme -> entry point of other packages. It looks once, as it reads the metadata of every package."""
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
    """Return what tells a sink from others: no login, and no option that does not move its rows.

    Two URLs with the same place name the same sink.
    """
    path = path_of(url)
    if path is not None:
        return url.partition(":")[0].replace(DEFAULT_URL[:-1], "sqlite"), str(path.resolve())
    module = module_of(url)
    return cast(Callable[[str], tuple[str, ...]], module.place)(url) if hasattr(module, "place") else (shown_url(url),)


def writers_max(url: str) -> int:
    """Return how many drains of one worker may write into this sink at once."""
    return 1 if url.partition(":")[0] in _ONE_WRITER else WRITERS_MAX
