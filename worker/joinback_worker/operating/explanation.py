"""What an explanation of one join key is made of."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from joinback_worker.law.row import Row

VerdictName = Literal[
    "joined",
    "unlabelled",
    "waits_for_feedback",
    "waits_for_prediction",
    "in_the_queue",
    "claimed",
    "waits_for_newer_worker",
    "came_too_late",
    "taken_back",
    "dead",
    "sampled_out",
    "sink_unknown",
    "unknown",
]


class Moment(Struct, frozen=True, kw_only=True):
    """One line of the evidence."""

    at: datetime | None
    """None: it is not known when."""
    what: str
    """Such as `prediction:0a1b`, `feedback:repaid-17`, `in the queue`, `dead letter: after_window`."""
    where: Literal["redis", "queue", "dead letters", "sink"]
    detail: str = ""
    """What it holds, as JSON where it is an event: hide it where nobody asked."""


class Waiting(Struct, frozen=True, kw_only=True):
    """One entry of the pending stream."""

    id: str
    at: datetime
    """When Redis received the event."""
    kind: str
    event_id: str = ""
    consumer: str | None = None
    """Who claimed it, as `host:pid:…`; None: nobody has."""
    claimed_s: float | None = None
    """For how long that one holds it."""


class Near(Struct, frozen=True, kw_only=True):
    """A key that exists, and how it differs from the one that was asked for."""

    join_key: str
    how: str


class Coverage(Struct, frozen=True, kw_only=True):
    """How many labels predictions of one age have, by the label curve."""

    age_s: float
    share: float | None
    """Of the predictions that old; None: too few to tell."""
    p90_s: float | None
    """After how long nine in ten have one; None: never yet, or not known."""


class Explanation(Struct, kw_only=True):
    """All that is known of one join key."""

    application: str
    join_key: str
    at: datetime
    """When it was asked, by Redis's clock."""
    verdict: VerdictName = "unknown"
    says: str = ""
    """The verdict, in one sentence."""
    timeline: list[Moment] = []
    """The oldest first; what has no time last."""
    near: list[Near] = []
    """Only of a key that is unknown, or has feedback and no prediction."""
    coverage: Coverage | None = None
    """Only of a prediction that waits for feedback."""
    sample: str | None = None
    """What the published rate means for this key; None if all keys are logged."""
    row: Row | None = None
    tags: list[str] = []
    """Under which keys Redis may hold it: the tag of the present shards first."""
    events: dict[str, str] = {}
    """The record in Redis: `<kind>:<event_id>` -> JSON."""
    expires_in_s: int | None = None
    """When Redis lets the record go."""
    pending: list[Waiting] = []
    """Its entries among the newest and the oldest of the pending stream."""
    dead: list[dict[str, str]] = []
    """Its dead letters among the newest: id, event, reason, detail, bytes."""
    dead_expire_in_s: float | None = None
    unusable: str | None = None
    """Why what stands at its key is no record."""
    sink: str = ""
    """The one that was looked at, without secrets."""
    sink_trouble: str | None = None
    """Why the sink could not be read."""
    sink_missing: str | None = None
    """That there is no such sink yet."""
    sink_elsewhere: str | None = None
    """Why this application's rows are in another sink."""
    by_hand: list[str] = []
    """Lines for a shell that show the same; none holds a password."""

    @property
    def is_known(self) -> bool:
        """Whether Redis or the sink holds anything of it."""
        return bool(self.events or self.unusable or self.row or self.pending or self.dead)
