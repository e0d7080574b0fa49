"""The URL of a PostgreSQL sink: libpq's parameters, our own option, and the place that it names."""

import math
import os
import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from joinback.errors import ConfigurationError

TIMEOUT_S = 20.0
"""For one statement: a hundred times what a batch takes, and well below the limit of a drain."""


def place(url: str) -> tuple[str, ...]:
    """Return host, port and database, and the schema if the URL names one. PG* variables fill in what it lacks."""
    known, _ = parameters_of(url)
    host = known.get("host") or known.get("hostaddr") or os.environ.get("PGHOST", "localhost")
    database = known.get("dbname") or os.environ.get("PGDATABASE") or known.get("user", "")
    port = known.get("port") or os.environ.get("PGPORT", "5432")
    found = re.search(r"search_path\s*=\s*(\S+)", str(known.get("options", "")))
    return "postgresql", str(host).lower(), str(port), str(database), found.group(1) if found else ""


def parameters_of(url: str) -> tuple[dict[str, Any], float]:
    """Return libpq's parameters, and the seconds of our own option `timeout_s`. Raises ConfigurationError."""
    base, _, query = url.partition("?")
    timeout_s = TIMEOUT_S
    theirs = []
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if name == "timeout_s":
            timeout_s = _seconds(value)
        else:
            theirs.append(option)
    try:
        return dict(conninfo_to_dict(f"{base}?{'&'.join(theirs)}")), timeout_s
    except psycopg.ProgrammingError:
        # libpq's own text may quote a part of the password.
        raise ConfigurationError(
            "JOINBACK_SINK_URL is not a PostgreSQL URL; write postgresql://user:password@host:5432/database, with"
            " %-codes for special characters of the password, and only options that libpq knows"
        ) from None


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds < 86_400:
        raise ConfigurationError(
            "JOINBACK_SINK_URL: timeout_s must be a number of seconds, at least 0.1 and below 86400"
        )
    return seconds
