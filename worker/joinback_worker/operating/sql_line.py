"""The shell line that asks a sink by its own tool. No line holds a password: each tool asks for it."""

import shlex
from urllib.parse import unquote, urlsplit

from joinback.command_line import command_line
from joinback_worker.sinks.place import absolute, path_of

_PSQL_OPTIONS = frozenset({"host", "hostaddr", "port", "dbname", "user", "options", "sslmode", "sslrootcert"})
"""The options that locate the database. Some of the others are secrets."""


def sql_line(sink_url: str, query: str) -> str | None:
    """Return a shell line that puts this query to the sink; None for a pipe, or a sink without a tool of its own."""
    url = absolute(sink_url)
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return shlex.join(["sqlite3", "-readonly", str(path_of(url)), query])
    if scheme in ("postgresql", "postgres"):
        return shlex.join(["psql", _without_password(url), "-c", query])
    if scheme in ("clickhouse", "clickhouses"):
        parts = urlsplit(url)
        words = ["clickhouse-client", "--host", str(parts.hostname)]
        words += ["--secure"] if scheme == "clickhouses" else []
        words += ["--user", unquote(parts.username)] if parts.username else []
        words += ["--password"] if parts.password else []  # it asks
        words += ["--database", unquote(parts.path.strip("/")) or "default", "--query", query]
        return shlex.join(words)
    if scheme in ("parquet", "jsonl", "delta"):
        return f"({command_line('sink schema', url)}; echo {shlex.quote(query)}) | duckdb"
    return None


def literal(text: str) -> str:
    """Return the text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _without_password(url: str) -> str:
    """Return the URL for psql without its password. psql asks for it, or reads PGPASSWORD."""
    base, question, query = url.partition("?")
    scheme, _, rest = base.partition("://")
    login, at, place = rest.rpartition("@")
    kept = "&".join(option for option in query.split("&") if option.partition("=")[0] in _PSQL_OPTIONS)
    return f"{scheme}://{login.partition(':')[0]}{at}{place}{question if kept else ''}{kept}"
