"""Shell lines that show the evidence on one key without Joinback: by redis-cli, and by the sink's own tool."""

import shlex
from collections.abc import Iterator, Sequence

from joinback import wire
from joinback.settings import Settings

from .evidence import ENTRIES_SEARCHED
from .redis_cli import redis_cli, redis_password_hint
from .sql_line import literal, sql_line


def shell_lines(settings: Settings, application: str, join_key: str, tags: Sequence[str]) -> Iterator[str]:
    """Yield the lines. No line holds a password."""
    if hint := redis_password_hint(settings):
        yield f"# {hint}"
    command = redis_cli(settings.redis_url, raw=True)
    for tag in tags:
        yield f"{command} HGETALL {shlex.quote(wire.record_key(tag, join_key))}"
        yield f"{command} XREVRANGE {shlex.quote(wire.pending_key(tag))} + - COUNT {ENTRIES_SEARCHED}"
        yield f"{command} XPENDING {shlex.quote(wire.pending_key(tag))} {wire.GROUP}"
        yield f"{command} XREVRANGE {shlex.quote(wire.dead_key(tag))} + - COUNT {ENTRIES_SEARCHED}"
    query = f"select * from records where application = {literal(application)} and join_key = {literal(join_key)}"  # noqa: S608
    if sql := sql_line(settings.sink_url, query):
        yield sql
