"""Sinks: where rows go. One file per sink; the scheme of the URL chooses it, and only the chosen one is imported.

Another package brings a sink by an entry point: see `schemes.ENTRY_POINTS`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import ClassVar, NamedTuple, Protocol, Self, TypeAlias, cast

from msgspec import field

from joinback.errors import ConfigurationError
from joinback.urls import shown_url
from joinback_worker.law.joining import Outcome
from joinback_worker.law.record import Record, Rejected
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy
from joinback_worker.totals import Totals

from .place import absolute
from .schemes import module_of

Refolded: TypeAlias = Counter[tuple[str, str]]
"""(status before, status after) -> the number of rows that a `refold` changed."""


class Merged(Totals, kw_only=True):
    """What one merge did. It counts each row of the call once, by its state after the merge."""

    rows: int = 0
    joined: int = 0
    orphans: int = 0
    conflicts: int = 0
    """Rows whose key has more than one prediction."""
    rejected: list[Rejected] = field(default_factory=list)
    """Events of the call that do not count. The worker makes a dead letter of each."""

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Self:
        """Return what a merge did that had these outcomes, one per record."""
        statuses = Counter(outcome.status for outcome in outcomes)
        return cls(
            rows=len(outcomes),
            joined=statuses["joined"],
            orphans=statuses["orphan"],
            conflicts=sum(outcome.has_conflicts for outcome in outcomes),
            rejected=[event for outcome in outcomes for event in outcome.rejected],
        )

    def count(self, status: str, has_conflicts: bool, rejected: Iterable[Rejected]) -> None:
        """Add one row."""
        self.rows += 1
        self.joined += status == "joined"
        self.orphans += status == "orphan"
        self.conflicts += has_conflicts
        self.rejected += rejected


class Standing(NamedTuple):
    """A table or a view of a sink, as `Sink.standing` finds it by its name."""

    is_view: bool
    note: str
    """The comment that the view carries; empty if it has none."""


class Sink(Protocol):
    """A place for rows: one row per (application, join key).

    Who calls. The worker opens a new sink for each drain: `open_sink`, `async with`, `merge` per batch of at most
    some thousand records, `close_matured`. It makes one call at a time on a sink. But other drains of the same worker
    and other processes write to the same place at the same moment, each by a sink of their own.
    The event loop calls every method. A method may wait, but it must not block the loop: `SinkOnThread` runs a
    blocking driver on a thread.

    What a merge must keep:
    - It merges each record into the row that the sink holds by then, with `law.joining`. It loses no event of either,
      whoever else writes at the same time. It returns as `Merged.rejected` what a full row does not admit.
    - It stores all records of the call, or none.
    - When it returns, the rows are durable: they survive a power cut of the sink. The worker then deletes the events
      from Redis's queue.
    - Anybody may call it again with the same records, at any later time. Then nothing changes.
    - A call holds each key once, and its keys come in any order.

    Errors. `SinkUnavailable`: a later try may succeed (the sink is down, locked, full, read-only, or lacks its table).
    The events stay pending and the next drain tries again. `SinkRefused`: the sink cannot store these very records,
    now or later. The worker then searches for the bad record by halves and makes a dead letter of it. Decide by the
    type and code of the driver's error, never by its text. Any method may raise SinkUnavailable. `merge`, `get`,
    `rows`, `sample` and `refold` may raise SinkRefused, also for a row that somebody edited so that nobody can read it.

    `tests/sinks/test_conformance.py` checks all this for each sink of `tests/sinks/engines.py`.
    """

    looks_up: ClassVar[bool]
    """Whether `get` finds the row of a key cheaply, however much the sink holds. Only then may Redis forget a record
    soon after the sink has it: for a late label, `get` is then the only way to find its prediction."""
    refolds: ClassVar[bool]
    """Whether the sink stores finished rows, which keep the rules of their last event until `refold`. If not, it stores
    events, and the reader folds them by the rules of that day."""
    erases: ClassVar[bool]
    """Whether `erase` can delete what the sink holds. A pipe cannot take back what went through it."""
    emits_joined: ClassVar[bool]
    """Whether the sink can keep JOINBACK_EMIT=joined. Each drain then looks up its labels by `get`, so that must
    not read all that the sink holds."""
    read_only: bool
    """The caller sets it before it enters the sink. The sink then creates and changes nothing, and raises SinkMissing
    if it does not exist yet. False by default."""
    migrates: bool
    """The caller sets it before it enters the sink. If it is False, the sink leaves a table of an older release as it
    is, and raises SinkOlder. True by default."""

    async def __aenter__(self) -> Self:
        """Connect, and create or check the schema. Raises SinkUnavailable."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection. What `merge` returned for is durable already, so nothing is left to write."""

    async def merge(self, records: Sequence[Record]) -> Merged:
        """Store these records, as the list above requires. Return the state of their rows.

        `records` may be of several applications, and may be empty. Raises SinkUnavailable, SinkRefused.
        """

    async def close_matured(self, application: str) -> int:
        """Write what the clock alone changes in the rows of one application. Return how many rows changed.

        A row changes so when the policy's time for a label, or for a field with a default, is over. The clock drives
        this and no event does, so it closes the rows of an application without traffic too. It may be called at any
        time and as often as one likes; its rows are as durable as those of `merge`. A sink that folds when somebody
        reads returns 0. Raises SinkUnavailable.
        """

    def records(self, application: str | None = None) -> AsyncIterator[list[Record]]:
        """Yield all records of one application, or of all (None), in batches that fit into memory.

        The events of one record may come in several batches. Raises SinkUnavailable.
        """

    def whole_records(self, application: str) -> AsyncIterator[list[Record]]:
        """Yield each record of one application once and whole, sorted by join key, in batches that fit into memory.

        Raises SinkUnavailable.
        """

    def rows(self, application: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of one application as SQL shows them, sorted by join key, in batches that fit into memory.

        Where a view folds, this folds by the policy of that view. Raises SinkUnavailable, SinkRefused.
        """

    def sample(self, application: str) -> AsyncIterator[list[Row]]:
        """Yield some thousand rows of one application, in batches that fit into memory.

        They hold the newest predictions and the newest labels, if the store can find those. Raises as `rows`.
        """

    async def standing(self, name: str) -> Standing | None:
        """Return the table or view of this name, whoever made it; None if there is none. Raises SinkUnavailable."""

    async def run_sql(self, statements: Sequence[str]) -> None:
        """Run statements that make a view: all or none, if the engine can. Raises SinkUnavailable."""

    async def try_rights(self) -> None:
        """Do what a merge does, and undo it, as far as the store can. Raises SinkUnavailable if a right is missing."""

    async def refold(self, application: str, *, dry_run: bool = False) -> Refolded:
        """Make the rows of one application again, by the policy, after its rules changed. Return which rows changed.

        `dry_run` writes nothing. A sink that does not `refold` returns an empty Refolded. Raises SinkUnavailable,
        SinkRefused.
        """

    async def erase(self, application: str, join_keys: Sequence[str]) -> int:
        """Delete all that the sink holds of these keys. Return how many rows of `records` or of `events` that were.

        It changes nothing of other keys, whoever merges, compacts or reads meanwhile. When it returns, no query finds
        these keys any more, and that survives a power cut of the sink. It may be called again. `join_keys` may be
        empty. Raises SinkUnavailable.
        """

    async def get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        """Return join key -> row. It leaves out keys without a row, and it sees every earlier merge.

        `join_keys` may be empty. Raises SinkUnavailable, SinkRefused.
        """


def open_sink(url: str, policy: Policy | None = None, *, read_only: bool = False) -> Sink:
    """Return the sink of a URL, not entered yet. Raises ConfigurationError for a URL that no sink serves."""
    sink = cast(Callable[[str, Policy], Sink], module_of(url).open_url)(absolute(url), policy or Policy())
    sink.read_only = read_only
    return sink


def shown(url: str) -> str:
    """Return a sink's URL as logs and commands show it: with its whole path, and without a password."""
    return shown_url(absolute(url))


def check_emit(sink: Sink, emit: str) -> None:
    """Raise ConfigurationError if JOINBACK_EMIT is `joined` and the sink cannot keep it.

    For JOINBACK_EMIT=joined each label is looked up in the sink. A directory has no index, so each batch read every
    file: 0.4 s of CPU at 80,000 records, and twice as much at twice as many.
    """
    if emit == "joined" and not sink.emits_joined:
        raise ConfigurationError(
            "JOINBACK_EMIT=joined needs a sink that finds a row by its key, and a directory has no index:"
            " leave JOINBACK_EMIT unset, and read the view with status = 'joined'"
        )
