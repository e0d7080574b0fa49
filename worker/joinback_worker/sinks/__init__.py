"""Sinks: where rows go. One file each, chosen by the URL's scheme, imported only when chosen."""

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
"""How many rows say something else now, by their status before and after."""


class Merged(Totals, kw_only=True):
    """What one merge did: the state of its rows afterwards."""

    rows: int = 0
    joined: int = 0
    orphans: int = 0
    conflicts: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Self:
        """Return what a merge of as many records did."""
        statuses = Counter(outcome.status for outcome in outcomes)
        return cls(
            rows=len(outcomes),
            joined=statuses["joined"],
            orphans=statuses["orphan"],
            conflicts=sum(outcome.has_conflicts for outcome in outcomes),
            rejected=[event for outcome in outcomes for event in outcome.rejected],
        )

    def count(self, status: str, has_conflicts: bool, rejected: Iterable[Rejected]) -> None:
        self.rows += 1
        self.joined += status == "joined"
        self.orphans += status == "orphan"
        self.conflicts += has_conflicts
        self.rejected += rejected


class Standing(NamedTuple):
    """What stands in a sink under a name."""

    is_view: bool
    note: str
    """That a view carries; empty if none."""


class Sink(Protocol):
    """A place for rows, one per (application, join key).

    The promise of `merge`:
    - Each record is merged into the row the sink already holds, by `law.joining`: no event of either is lost,
      whoever else writes at the same time; what a full row does not admit is returned as rejected.
    - All of the call's records are stored, or none.
    - When it returns, the rows are durable: they survive the sink's power being cut.
    - It may be called again with the same records, by anyone, at any time later; nothing changes then.
    - A call never holds one key twice; keys come in any order.

    It raises SinkUnavailable when trying again later may help (down, locked, full, read-only, no table), and
    SinkRefused when these very records cannot be stored. By type and code, never by message text.
    `get` raises SinkRefused too, for a row that somebody edited so that it cannot be read.
    Methods may wait, but never block the event loop.
    """

    looks_up: ClassVar[bool]
    """Whether `get` finds a key's row cheaply, however much the sink holds. Only then may Redis let a record go soon
    after the sink has it; otherwise nobody could tell a late label's prediction from one that never was."""
    refolds: ClassVar[bool]
    """Whether rows stay as the rules of their last event made them until `refold`; else whoever reads folds."""
    erases: ClassVar[bool]
    """Whether what it holds can be erased; what went into a pipe cannot."""
    emits_joined: ClassVar[bool]
    """Whether it can keep JOINBACK_EMIT=joined: what that asks for costs no look through all it holds."""
    read_only: bool
    """Set before it is entered: it then makes and changes nothing, and one that is not there is SinkMissing."""
    migrates: bool
    """Set before it is entered: without it a table of an older release stays as it is, and is SinkOlder."""

    async def __aenter__(self) -> Self:
        """Connect, and create or check the schema. Raises SinkUnavailable."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def merge(self, records: Sequence[Record]) -> Merged: ...

    async def close_matured(self, application: str) -> int:
        """Write what the clock alone changes, by the policy: a label or a field was not told in time; how many rows.

        Driven by the clock and not by events, so that an application without traffic closes too. As often
        as one likes; the same promise of durability as `merge`. 0 from a sink that closes rows as they are read.
        """

    def records(self, application: str | None = None) -> AsyncIterator[list[Record]]:
        """All it holds, or all of one application, in bounded batches. Raises SinkUnavailable.

        A record's events may come in several of them.
        """

    def whole_records(self, application: str) -> AsyncIterator[list[Record]]:
        """The records of one application, each whole and once, by join key, in bounded batches.

        Raises SinkUnavailable.
        """

    def rows(self, application: str) -> AsyncIterator[list[Row]]:
        """The rows of one application as SQL people read them, by join key, in bounded batches.

        Where a view folds they are folded by what it folds by. Raises SinkUnavailable, and SinkRefused as `get` does.
        """

    def sample(self, application: str) -> AsyncIterator[list[Row]]:
        """Some thousand rows of one application, in bounded batches: its newest predictions and labels, where the store
        can tell which those are. Raises as `rows`.
        """

    async def standing(self, name: str) -> Standing | None:
        """What stands there under this name: a table or a view, whoever made it. Raises SinkUnavailable."""

    async def run_sql(self, statements: Sequence[str]) -> None:
        """Run statements that make a view; all or none, where the engine can. Raises SinkUnavailable."""

    async def try_rights(self) -> None:
        """Do what a merge does, and undo it, as far as the store can. Raises SinkUnavailable."""

    async def refold(self, application: str, *, dry_run: bool = False) -> Refolded:
        """Project the rows again by the policy, since it changed; what became of those that say something else now.

        None where a view folds. `dry_run` writes nothing.
        """

    async def erase(self, application: str, join_keys: Sequence[str]) -> int:
        """Delete all that it holds of these keys; how many of its own rows that were, of `records` or of `events`.

        Of others nothing changes, whoever merges, compacts or reads meanwhile. When it returns, no query finds them,
        and that survives the sink's power being cut. May be called again. Raises SinkUnavailable.
        """

    async def get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        """The rows of these keys; absent ones are left out. Sees every earlier merge."""


def open_sink(url: str, policy: Policy | None = None, *, read_only: bool = False) -> Sink:
    """Return the sink of a URL, not yet entered. Raises ConfigurationError for a URL nobody serves."""
    sink = cast(Callable[[str, Policy], Sink], module_of(url).open_url)(absolute(url), policy or Policy())
    sink.read_only = read_only
    return sink


def shown(url: str) -> str:
    """Return a sink's URL as every line that speaks of rows names it: its place in full, and no secret."""
    return shown_url(absolute(url))


def check_emit(sink: Sink, emit: str) -> None:
    """Raise ConfigurationError for a sink that cannot keep JOINBACK_EMIT=joined.

    That asks whether a label's row is there. A directory has no index: it read every file for each chunk, 0.4 s of
    CPU at 80,000 records and twice as much at twice as many.
    """
    if emit == "joined" and not sink.emits_joined:
        raise ConfigurationError(
            "JOINBACK_EMIT=joined needs a sink that finds a row by its key, and a directory has no index:"
            " leave JOINBACK_EMIT unset, and read the view with status = 'joined'"
        )
