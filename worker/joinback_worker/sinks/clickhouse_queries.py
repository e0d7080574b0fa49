"""The queries and statements that the ClickHouse sink sends."""

from collections.abc import Iterator, Sequence

from msgspec import json

from .directory import COPY_ROWS
from .event_log import Stored

PARAMETER_BYTES = 96 << 10
"""Of keys in one parameter, counted as JSON with each character escaped. The server takes 128 KiB per parameter
(http_max_field_value_size)."""

# The newest policy counts. Its time is the server's, or just after the last policy if that one is from the future.
POLICY_TIME = """
SELECT greatest(now64(6, 'UTC'), max(written_at) + INTERVAL 1 MICROSECOND) FROM policies
WHERE application = {application:String}
"""
# WITH TIES: a page holds all rows of each of its records.
PAGE = (
    f"SELECT application, {', '.join(Stored._fields)} FROM events"  # noqa: S608
    " WHERE (application, join_key) > ({application:String}, {join_key:String})"
    f" ORDER BY application, join_key LIMIT {COPY_ROWS} WITH TIES"
)
# The rows that were drained last, by the clocks of their writers.
NEWEST = " UNION ALL ".join(
    f"(SELECT join_key FROM events WHERE application = {{application:String}} AND kind = '{kind}'"  # noqa: S608
    " ORDER BY written_at DESC LIMIT {limit:UInt32})"
    for kind in ("prediction", "feedback")
)
DELETED_WHEN_ANSWERED = {"mutations_sync": 2}
"""Waits for each replica. A lightweight DELETE would only hide the rows until a later merge of the parts."""
STORED_WHEN_ANSWERED = {"async_insert": 0, "wait_for_async_insert": 1}
"""Overrides the user's profile: servers from 26.3 on queue inserts by default, and a profile may not wait for them."""


class _Escaped:
    """A text parameter that is escaped already.

    The driver passes the `str` of any object on, but escapes a `str` itself, character by character. Of ten thousand
    keys that took as long as to find them.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def look_up(application: str, join_keys: Sequence[str], columns: Sequence[str]) -> tuple[str, dict[str, object]]:
    """Return the query for all rows of these keys, and its parameters.

    It is one query, however many keys there are. The keys of a batch lie anywhere, so each query reads the keys of the
    whole table; with PREWHERE it reads the other columns only where it found one.
    """
    # As JSON texts, as a list would be a literal for each key. JSON has no control characters: so backslashes are all
    # that is to be escaped.
    parts = {
        f"keys_{n}": _Escaped(json.encode(part).decode().replace("\\", "\\\\"))
        for n, part in enumerate(in_parts(join_keys))
    }
    arrays = ", ".join(f"JSONExtract({{{name}:String}}, 'Array(String)')" for name in parts)
    query = (
        f"SELECT {', '.join(columns)} FROM events"  # noqa: S608
        f" PREWHERE application = {{application:String}} AND join_key IN arrayConcat({arrays})"
    )
    return query, {"application": application, **parts}


def deletion(application: str, join_keys: Sequence[str]) -> str:
    """Return the statement that deletes all rows of these keys, which are one part of `in_parts`.

    Its texts are in hex: the server keeps the statement as a text, and such a text takes no parameters.
    """
    keys = ", ".join(map(_literal, join_keys))
    return f"ALTER TABLE events DELETE WHERE application = {_literal(application)} AND join_key IN ({keys})"


def _literal(text: str) -> str:
    return f"unhex('{text.encode().hex()}')"


def in_parts(join_keys: Sequence[str]) -> Iterator[list[str]]:
    """Yield the keys in parts, each small enough for one parameter or one statement."""
    part: list[str] = []
    size = 0
    for key in join_keys:
        part.append(key)
        size += 2 * len(json.encode(key))
        if size >= PARAMETER_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
