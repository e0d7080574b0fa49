"""The place that a sink's URL names: the default file, absolute paths, and checks of what is easily misread."""

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from joinback.errors import ConfigurationError

DEFAULT_URL = "embedded:"
FILE_SCHEMES = frozenset({"sqlite", "chdb", "delta", "parquet", "jsonl"})
"""Schemes of the sinks that are a file or a directory of this machine."""

_ROOTS = frozenset(
    {"data", "etc", "home", "mnt", "nfs", "opt", "private", "root", "run", "srv", "tmp", "usr", "var", "volumes"}
)
"""First folders of absolute paths, on Linux and macOS."""
_SPECIAL = re.compile(r"[@/?#]")


def default_file() -> Path:
    """Return the file of the default sink: one per user, in whatever directory a command runs.

    Raises ConfigurationError if the user has no home directory.
    """
    data = os.environ.get("XDG_DATA_HOME", "")
    if not Path(data).is_absolute():
        # The XDG specification says so: ignore a relative path.
        try:
            data = str(Path.home() / ".local" / "share")
        except RuntimeError:
            raise ConfigurationError("this user has no home for the default sink; set JOINBACK_SINK_URL") from None
    return Path(data) / "joinback" / "joinback.db"


def absolute(url: str) -> str:
    """Return the URL with an absolute path, and the URL of its file for the default. Other URLs stay as they are."""
    if url == DEFAULT_URL:
        return f"sqlite:///{quote(str(default_file()))}"
    relative = _relative(url)
    if relative is None:
        return url
    # Not by urlsplit: it normalises, and the check of the sink must see what the user wrote.
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
    """Return the parts of `urlsplit`. Raises ConfigurationError instead of its ValueError, which quotes the URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        scheme = url.partition(":")[0]
        raise ConfigurationError(
            f"JOINBACK_SINK_URL is not the URL of a sink; write {scheme}://user:password@host:port/database, or see"
            " docs/how-to/sinks.md"
        ) from None
    return parts


def warning(url: str) -> str | None:
    """Return one line for a person on where a relative path leads; None if the URL has no relative path."""
    relative = _relative(url)
    if relative is None:
        return None
    scheme = url.partition(":")[0]
    meaning = f"{scheme}:///{relative} is relative to the directory: {Path.cwd() / unquote(relative)}"
    first = relative.partition("/")[0].lower()
    return f"{meaning}; write {scheme}:////{relative} for /{relative}" if first in _ROOTS else meaning


def check_login(url: str, variable: str = "JOINBACK_SINK_URL") -> None:
    """Raise ConfigurationError if special characters of a user or password are not encoded.

    A driver finds the end of such a login elsewhere than a person does. It would take the rest of the password for the
    host, and show it in its messages.
    """
    base, _, query = url.partition("://")[2].partition("?")
    login, at, _ = base.rpartition("@")
    is_cut = any("@" in option.partition("=")[0] for option in query.split("&"))
    if is_cut or (at and _SPECIAL.search(login)):
        raise ConfigurationError(
            f"{variable}: write special characters of user and password as %-codes: %40 for @, %2F for /, %3F for ?,"
            " %23 for #"
        )


def check_slashes(url: str) -> None:
    """Raise ConfigurationError if the path of a file does not follow three slashes, as in `sqlite:/var/lib/x.db`.

    Such a path would be read as a relative one.
    """
    scheme, _, path = url.partition(":")
    if scheme in FILE_SCHEMES and not path.startswith("//"):
        example = f"{scheme}:////{path.lstrip('/') or 'var/lib/joinback'}"
        raise ConfigurationError(f"JOINBACK_SINK_URL: the path must follow three slashes; write {example}")


def _relative(url: str) -> str | None:
    """Return the path of a file's URL if it is relative, else None."""
    scheme, _, path = url.partition(":///")
    path = path.partition("?")[0]
    return path if scheme in FILE_SCHEMES and path and not path.startswith("/") else None
