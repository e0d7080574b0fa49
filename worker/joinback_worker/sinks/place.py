"""Where a sink's URL leads: the default's place, relative paths made absolute, and logins that cannot be misread."""

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from joinback.errors import ConfigurationError

DEFAULT_URL = "embedded:"
FILE_SCHEMES = frozenset({"sqlite", "chdb", "delta", "parquet", "jsonl"})
"""Sinks that are a file or a directory of this machine."""

_ROOTS = frozenset(
    {"data", "etc", "home", "mnt", "nfs", "opt", "private", "root", "run", "srv", "tmp", "usr", "var", "volumes"}
)
"""First folders of absolute paths, on Linux and macOS."""
_SPECIAL = re.compile(r"[@/?#]")


def default_file() -> Path:
    """Return the default sink's file: one for each user, wherever a command is run. Raises ConfigurationError."""
    data = os.environ.get("XDG_DATA_HOME", "")
    if not Path(data).is_absolute():
        # As the XDG specification has it: a relative one is ignored.
        try:
            data = str(Path.home() / ".local" / "share")
        except RuntimeError:
            raise ConfigurationError("this user has no home for the default sink; set JOINBACK_SINK_URL") from None
    return Path(data) / "joinback" / "joinback.db"


def absolute(url: str) -> str:
    """Return the URL with the default's place and an absolute path. What is no URL of a file stays as it is."""
    if url == DEFAULT_URL:
        return f"sqlite:///{quote(str(default_file()))}"
    relative = _relative(url)
    if relative is None:
        return url
    # Cut by hand: urlsplit would normalise what the sink's own check should see.
    head, _, tail = url.partition(":///")
    path, question, query = tail.partition("?")
    return f"{head}:///{quote(str(Path.cwd()))}/{path}{question}{query}"


def path_of(url: str) -> Path | None:
    """Return the file or directory of an absolute URL; None for a server, a bucket or a pipe."""
    url = absolute(url)
    if url.partition(":")[0] not in FILE_SCHEMES:
        return None
    return Path(unquote(parts_of(url).path.removeprefix("/")))


def parts_of(url: str) -> SplitResult:
    """Return `urlsplit`'s parts. Raises ConfigurationError where it would raise ValueError, which quotes the URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        scheme = url.partition(":")[0]
        raise ConfigurationError(
            f"JOINBACK_SINK_URL is no URL of a sink; write {scheme}://user:password@host:port/database, or what"
            " docs/how-to/sinks.md has"
        ) from None
    return parts


def warning(url: str) -> str | None:
    """Return what a person should know of a relative path, in one line; None if the URL has none."""
    relative = _relative(url)
    if relative is None:
        return None
    scheme = url.partition(":")[0]
    said = f"{scheme}:///{relative} is relative to the directory: {Path.cwd() / unquote(relative)}"
    first = relative.partition("/")[0].lower()
    return f"{said}; write {scheme}:////{relative} for /{relative}" if first in _ROOTS else said


def check_login(url: str, variable: str = "JOINBACK_SINK_URL") -> None:
    """Raise ConfigurationError if a password's special characters are not encoded.

    Drivers end such a login at other places than a person does, and would take its tail for a host to name in
    their messages.
    """
    base, _, query = url.partition("://")[2].partition("?")
    login, at, _ = base.rpartition("@")
    is_cut = any("@" in option.partition("=")[0] for option in query.split("&"))
    if is_cut or (at and _SPECIAL.search(login)):
        raise ConfigurationError(
            f"{variable}: write what is special in user and password as %-codes: %40 for @, %2F for /, %3F for ?,"
            " %23 for #"
        )


def _relative(url: str) -> str | None:
    """Return the path of a file's URL if it is relative."""
    scheme, _, path = url.partition(":///")
    path = path.partition("?")[0]
    return path if scheme in FILE_SCHEMES and path and not path.startswith("/") else None
