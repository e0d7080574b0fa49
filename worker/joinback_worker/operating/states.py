"""What an overview consists of: one State per application, the sinks, and the whole."""

from datetime import datetime

from msgspec import Struct, field

from joinback_worker.notes.accounting import Accounting
from joinback_worker.notes.fields_seen import Field
from joinback_worker.notes.foreign import Foreign
from joinback_worker.notes.heartbeat import Beat
from joinback_worker.notes.reported_drops import ReportedDrops

from .findings import Finding, FindingName


class State(Struct, kw_only=True):
    """The state of one application. Its daily numbers cover the last 24 hours, or as much of them as was counted."""

    application: str
    shards: int = 1
    received_per_min: float | None = None
    """Events received per minute; None until a worker has drained for some minutes."""
    rows_per_min: float | None = None
    """Rows written per minute. A row that changes is written again, and counts again."""
    rows_of_day: int = 0
    joined_of_day: int = 0
    """Rows that were joined when they were written. Here and in the next number, a row that is written twice counts
    twice."""
    orphans_of_day: int = 0
    books: Accounting = field(default_factory=Accounting)
    """received = in rows + pending + dead + duplicates (+ unemitted, erased), and the difference."""
    oldest_claimable_s: float | None = None
    """Age of the oldest event that a worker of this release may drain; None if none waits."""
    claimed: int = 0
    """Pending events that a worker holds."""
    holders: list[str] = []
    """The workers, `host:pid`, whose claims hold still: nobody else can take those events yet."""
    waiting_for_upgrade: int = 0
    """Pending events that a newer client wrote and no worker here can read."""
    waiting_for_upgrade_s: float | None = None
    """Age of the oldest of them."""
    taken: list[Foreign] = []
    """What somebody else wrote in the place of its keys, except those of `books`, which has its own."""
    dead_now: int = 0
    dead_ever: int = 0
    dead_new: int = 0
    """Dead letters of the last day that still exist, or that never had bytes."""
    dead_by_reason_new: dict[str, int] = {}
    """`dead_new` by reason."""
    dead_are_more: bool = False
    """Whether there are more new letters than were counted."""
    dead_expire_in_s: float | None = None
    """Seconds until the present letters expire, unless new ones come; None if there are none."""
    last_event_at: datetime | None = None
    last_feedback_at: datetime | None = None
    first_feedback_at: datetime | None = None
    """When feedback was first seen: silences are measured from then on."""
    longest_silence_s: float | None = None
    """The longest time so far without feedback, by when it came, whenever it was drained."""
    last_drain_at: datetime | None = None
    """When its last good drain ended, by any worker. A drain that found nothing counts too."""
    last_drain_s: float | None = None
    """How long that round took, over all applications; None if a worker of an older release drained."""
    next_drain_at: datetime | None = None
    drained_by: str | None = None
    """host:pid"""
    drain_error: str | None = None
    """Why the last drain failed; None if it did not."""
    sink_lost: bool = False
    """Whether the sink was the reason of the failure."""
    sink: str | None = None
    """The URL of the sink that its rows go to, without secrets; None until a worker publishes it."""
    counters: dict[str, int] = {}
    """Counts since counting began: received:<kind>, rows, joined, orphans, conflicts, in_rows, duplicates,
    dead:<reason>, … They come from Redis, so several workers agree."""
    nearest: str | None = None
    """If the application has no predictions: the application with predictions whose name is most alike."""
    fields: dict[str, Field] = {}
    findings: list[Finding] = []

    @property
    def is_troubled(self) -> bool:
        return any(one.is_trouble for one in self.findings)

    @property
    def predictions_ever(self) -> int:
        return self.counters.get("received:prediction", 0)

    @property
    def feedback_ever(self) -> int:
        return self.counters.get("received:feedback", 0)


class Sink(Struct, kw_only=True):
    """One sink that workers write."""

    url: str
    """Without secrets."""
    applications: list[str] = []
    """The applications that have this sink by name; empty if it takes all others."""
    lag_s: float | None = None
    """Age of the oldest event that is not in the sink yet; None if none waits."""
    last_written_at: datetime | None = None
    """When a drain into it last ended well."""
    error: str | None = None


class Overview(Struct, kw_only=True):
    """The state of everything in one Redis."""

    at: datetime
    interval_s: int
    """The longest interval of the workers that are alive; else that of the last drains, else that of the settings."""
    applications: list[State] = []
    """The troubled ones first, then by name."""
    workers: list[Beat] = []
    sinks: list[Sink] = []
    drops: list[ReportedDrops] = []
    """What clients dropped within the last day, by host, service, application and reason. The latest comes first."""
    findings: list[Finding] = []
    """The findings of no single application. Each State has its own."""

    @property
    def all_findings(self) -> list[Finding]:
        """All findings: trouble before hints, and in each the findings of no single application first."""
        found = [*self.findings, *(one for state in self.applications for one in state.findings)]
        return sorted(found, key=lambda one: not one.is_trouble)

    @property
    def troubles(self) -> list[Finding]:
        """The findings that make exit code 1."""
        return [one for one in self.all_findings if one.is_trouble]

    def count(self, name: FindingName) -> int:
        """Return how many findings have this name."""
        return sum(one.name == name for one in self.all_findings)
