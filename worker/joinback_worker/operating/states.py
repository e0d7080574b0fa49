"""What an overview is made of: one State per application, the sinks, and the whole."""

from datetime import datetime

from msgspec import Struct, field

from joinback_worker.notes.accounting import Accounting
from joinback_worker.notes.drops_reported import DropsTold
from joinback_worker.notes.fields_seen import Field
from joinback_worker.notes.heartbeat import Beat

from .findings import Finding, FindingName


class State(Struct, kw_only=True):
    """One application. Numbers of a day are over the last 24 hours, or as far back as the history goes."""

    application: str
    shards: int = 1
    received_per_min: float | None = None
    """Events; None until a worker has drained for some minutes."""
    rows_per_min: float | None = None
    """Rows written; each time one changes counts."""
    rows_of_day: int = 0
    joined_of_day: int = 0
    """Rows that were joined when they were written; one that is written twice counts twice, as in the next two."""
    orphans_of_day: int = 0
    books: Accounting = field(default_factory=Accounting)
    """received = in rows + pending + dead + duplicates (+ unemitted, erased), and the difference."""
    oldest_claimable_s: float | None = None
    """Age of the oldest event that a worker of this release may drain; None if none waits."""
    claimed: int = 0
    """Of the pending, those that a worker holds."""
    waiting_for_upgrade: int = 0
    """Of the pending, those that a newer client wrote and no worker here can read."""
    waiting_for_upgrade_s: float | None = None
    """Age of the oldest of them."""
    dead_now: int = 0
    dead_ever: int = 0
    dead_new: int = 0
    """Of the last day, those that are still there or never had bytes."""
    dead_by_reason_new: dict[str, int] = {}
    """Of the last day, also those that were replayed or dropped since."""
    dead_expire_in_s: float | None = None
    """When the letters that are there now are gone, unless new ones come; None if there are none."""
    last_event_at: datetime | None = None
    last_feedback_at: datetime | None = None
    first_feedback_at: datetime | None = None
    """When feedback was seen first, since silences are watched."""
    longest_silence_s: float | None = None
    """The longest time between two drains that brought feedback, so far."""
    last_drain_at: datetime | None = None
    """When its last good drain ended, by whichever worker; also one that found nothing."""
    last_drain_s: float | None = None
    """How long its round took, over all applications; None: a worker of an older release."""
    next_drain_at: datetime | None = None
    drained_by: str | None = None
    """host:pid"""
    drain_error: str | None = None
    """Why the last one failed; None if it did not."""
    sink_lost: bool = False
    """Whether the sink was the reason."""
    sink: str | None = None
    """Where its rows go, without secrets; None while nobody has said it."""
    counters: dict[str, int] = {}
    """Since counting began: received:<kind>, rows, joined, orphans, conflicts, in_rows, duplicates, dead:<reason>, …;
    each event and each row that was written, so that several workers agree."""
    nearest: str | None = None
    """Of an application that has no predictions, the one with predictions whose name is most alike."""
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
    """Those that were given it by name; empty: all others."""
    lag_s: float | None = None
    """Age of the oldest event that is not in it yet; None if none waits."""
    last_written_at: datetime | None = None
    """When a drain into it last ended well."""
    error: str | None = None


class Overview(Struct, kw_only=True):
    """Of everything in one Redis."""

    at: datetime
    interval_s: int
    """Of the settings; workers may have another."""
    applications: list[State] = []
    """The troubled ones first, then by name."""
    workers: list[Beat] = []
    sinks: list[Sink] = []
    drops: list[DropsTold] = []
    """What clients dropped of the last day, by host, service, application and reason, the latest first."""
    findings: list[Finding] = []
    """Of no single application; see also each State's."""

    @property
    def all_findings(self) -> list[Finding]:
        """Everything that is amiss: the troubles first, whosever they are, and of each kind the whole's first."""
        found = [*self.findings, *(one for state in self.applications for one in state.findings)]
        return sorted(found, key=lambda one: not one.is_trouble)

    @property
    def troubles(self) -> list[Finding]:
        """What makes an exit code 1."""
        return [one for one in self.all_findings if one.is_trouble]

    def count(self, name: FindingName) -> int:
        """Return how many findings have this name: for a metric."""
        return sum(one.name == name for one in self.all_findings)
