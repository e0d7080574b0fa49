"""From an application's books and keys to findings, each with the redis-cli line that mends them. Pure."""

from collections.abc import Iterable, Iterator
from shlex import quote

from joinback import wire
from joinback.command_line import command_line
from joinback.settings import Settings
from joinback_worker.notes.foreign import Foreign

from .findings import Finding, finding
from .redis_cli import redis_cli, redis_fix
from .spans import several, verb
from .states import State


def taken_findings(foreign: Iterable[Foreign], settings: Settings, application: str | None = None) -> Iterator[Finding]:
    """Yield that another program's value stands in the place of each of these keys."""
    whose = f"{application}: " if application else ""
    for one in foreign:
        fix = f"{one.does}: {redis_fix(settings, one.command)}"
        yield finding("key_taken", f"{whose}{one.says}", fix, application)


def book_findings(state: State, settings: Settings) -> Iterator[Finding]:
    """Yield that the books do not balance, and each part of them, or other key, that somebody else overwrote."""
    yield from taken_findings(state.taken, settings, state.application)
    if state.books.difference:
        yield _difference(state, settings)
    for trouble in state.books.troubles:
        fix = f"{trouble.does}: {redis_fix(settings, trouble.command)}"
        yield finding("books_unreadable", f"{state.application}: {trouble.says}", fix, state.application)


def _difference(state: State, settings: Settings) -> Finding:
    """Return the finding that the books do not balance, with the commands that drain again and close the books."""
    number = abs(state.books.difference)
    stats = quote(wire.stats_key(wire.tag(state.application, 0, state.shards)))
    if state.books.difference > 0:
        says = f"{several(number, 'received event')} {verb(number, 'is', 'are')} missing from the books"
        # Redis cannot know which events came back: a requeued record may be one that the sink had all the time.
        lost = f"{redis_cli(settings.redis_url)} HINCRBY {stats} dead:lost REST"
        fix = (
            f"first {command_line('requeue', state.application)}, which drains again what Redis still holds. This"
            f" number stays, since what is requeued counts as received once more. After the next drain count those of"
            f" the {number} that came back as in rows, and only the rest as lost:"
            f" {redis_fix(settings, f'HINCRBY {stats} in_rows BACK', then=f'; {lost}')}"
        )
    else:
        says = f"{several(number, 'event')} {verb(number, 'is', 'are')} in the books twice"
        command = redis_fix(settings, f"HINCRBY {stats} received:unknown {number}")
        fix = f"find out who wrote to these keys; then close the books: {command}"
    if state.books.troubles:
        fix = "do first what books_unreadable says: what cannot be read counts as 0"
    return finding("difference", f"{state.application}: {says}", fix, state.application)
