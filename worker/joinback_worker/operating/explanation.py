"""What an explanation of one join key consists of."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from joinback_worker.law.row import Row

VerdictName = Literal[
    "joined",
    "unlabelled",
    "no_label",
    "waits_for_feedback",
    "waits_for_prediction",
    "in_the_queue",
    "claimed",
    "maybe_in_the_queue",
    "in_no_queue",
    "waits_for_newer_worker",
    "came_too_late",
    "taken_back",
    "dead",
    "erased",
    "sampled_out",
    "sink_unknown",
    "unknown",
]
Verdict = tuple[VerdictName, str]
"""The name of a verdict, and its sentence."""


class Moment(Struct, frozen=True, kw_only=True):
    """One line of the evidence."""

    at: datetime | None
    """None: the time is not known."""
    what: str
    """Such as `prediction:0a1b`, `feedback:repaid-17`, `in the queue`, `dead letter: after_window`."""
    where: Literal["redis", "queue", "dead letters", "sink"]
    detail: str = ""
    """What it holds; for an event, its JSON. It may be personal data: show it only if somebody asked."""


class Waiting(Struct, frozen=True, kw_only=True):
    """One entry of the pending stream."""

    id: str
    at: datetime
    """When Redis received the event."""
    kind: str
    event_id: str = ""
    consumer: str | None = None
    """Who claimed it, as `host:pid:…`; None if nobody has."""
    claimed_s: float | None = None
    """How many seconds ago it was claimed."""


class Near(Struct, frozen=True, kw_only=True):
    """A key that exists, and how it differs from the one that was asked for."""

    join_key: str
    how: str
    application: str | None = None
    """The application that has it, if that is another one."""


class Coverage(Struct, frozen=True, kw_only=True):
    """How many predictions of one age have a label, by the label curve."""

    age_s: float
    share: float | None
    """The share of the predictions of this age that have a label; None if too few are so old."""
    p90_s: float | None
    """The age at which nine in ten have a label; None if they never do so far, or if it is not known."""


class Explanation(Struct, kw_only=True):
    """All that is known of one join key."""

    application: str
    join_key: str
    at: datetime
    """When the question was asked, by Redis's clock."""
    verdict: VerdictName = "unknown"
    says: str = ""
    """The verdict, in one sentence."""
    timeline: list[Moment] = []
    """The oldest first. What has no time comes last."""
    near: list[Near] = []
    """Set only for a key that is unknown, or that has feedback and no prediction."""
    are_digests: bool = False
    """Whether the application's keys are 32 hex digits, and this unknown key is not."""
    redacted: list[str] = []
    """The paths of values that look redacted, each with the rule that leaves such a value."""
    coverage: Coverage | None = None
    """Set only for a prediction that waits for feedback."""
    sample: str | None = None
    """What the published sample rate means for this key; None if all keys are logged."""
    row: Row | None = None
    tags: list[str] = []
    """The tags under which Redis may hold it. The tag by the present number of shards comes first."""
    events: dict[str, str] = {}
    """The record in Redis: `<kind>:<event_id>` -> JSON."""
    expires_in_s: int | None = None
    """Seconds until Redis deletes the record."""
    pending: list[Waiting] = []
    """Its entries of the pending stream, the oldest first."""
    queue_entries: int = 0
    """How many entries the pending stream holds."""
    queue_looked_at: int = 0
    """How many of them were looked at."""
    queue_unread: bool = False
    """True if the pending stream could not be read."""
    dead: list[dict[str, str]] = []
    """Its dead letters among the newest: id, event, reason, detail, bytes."""
    dead_expire_in_s: float | None = None
    erased_until: datetime | None = None
    """Set if the key is erased: until when drains delete whatever comes of it."""
    unusable: str | None = None
    """Why the value at its key in Redis is not a record."""
    sink: str = ""
    """The URL of the sink that was asked, without secrets."""
    sink_trouble: str | None = None
    """Why the sink could not be read."""
    sink_missing: str | None = None
    """The sentence that this sink does not exist yet, if so."""
    sink_elsewhere: str | None = None
    """Why the rows of this application are in another sink, if they are."""
    by_hand: list[str] = []
    """Shell lines that show the same evidence. No line holds a password."""

    @property
    def is_known(self) -> bool:
        """Whether Redis or the sink holds anything of this key, be it only that it is erased."""
        return bool(self.events or self.unusable or self.row or self.pending or self.dead or self.erased_until)

    @property
    def is_queue_whole(self) -> bool:
        """Whether every entry of the queue was looked at."""
        return not self.queue_unread and self.queue_looked_at >= self.queue_entries
