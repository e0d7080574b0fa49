"""The wire contract: what client and worker must agree on. No other file spells a Redis key.

All keys of one application have one hash tag, so a Redis Cluster keeps them in one slot and the write script stays
atomic. `{tag}` is the application's name, percent-encoded where it would break the key. An application with several
shards has one tag per shard, `name/shard`.

    joinback:{tag}:record:<join_key>   HASH    `<kind>:<event_id>` -> the event as JSON; and the worker's
                                               `late:<event_id>` -> how late that feedback came
    joinback:{tag}:pending             STREAM  group `worker`; `key=<join_key> kind=<kind> id=<event_id>`;
                                               an entry's own id is the receive time by Redis's clock
    joinback:{tag}:dead                STREAM  what cannot become a row: key, event, reason, detail, bytes
    joinback:{tag}:stats               HASH    counters: received:<kind>, in_rows, duplicates, dead:<reason>, …
    joinback:{tag}:history             STREAM  the counters, and `pending`, as they were at the end of each drain
    joinback:{tag}:fields              HASH    `seen:<feedback field>` -> when it was first seen; `again:<field>` ->
                                               when it came a second time; `broken:<field>` -> how many of its values
                                               are not of the declared type
    joinback:{tag}:erased              HASH    `salt`, and for each erased join key SHA-1(salt + join key) -> until when
                                               new events of that key are erased again, in Unix seconds
    joinback:applications              HASH    application -> JSON {"shards":1,"sample_rate":1.0}
    joinback:layouts                   HASH    `<shards>:<application>` -> when it last had so many shards
    joinback:rules                     HASH    `<digest>:<application>` -> which worker used these rules, when first and
                                               when last, as JSON
    joinback:workers                   HASH    worker (host:pid) -> its newest sign of life, as JSON
    joinback:drains                    HASH    `done:<application>`, `failed:<application>` -> who drained it last, and
                                               when, as JSON
    joinback:sink                      HASH    application, or `*` for all others -> the sink of its rows, as JSON
                                               {"fingerprint":…,"url":…,"host":…,"since":…,"found":…}, without secrets
    joinback:drops                     STREAM  what a client dropped since its last report: `process` and `number` (a
                                               report whose answer is lost is sent again under its number), `host`,
                                               `service`, `dropped:<reason>:<application>` -> how many events
    joinback:paused                    STRING  exists while Redis is nearly full: clients hold predictions back

Every key has a TTL: records and pending the buffer TTL, the others the constants below.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from urllib.parse import quote

import msgspec
from msgspec import Meta, Raw, Struct

from . import nesting
from .errors import NewerWireVersion, UndecodableEvent

WIRE_VERSION = 2
"""The newest version that this release reads. It rises if an older worker could misread a new kind of event: that
worker then leaves such events pending."""
PLAIN_VERSION = 1
"""The version of events that any worker reads. 2 is for feedback with a source, and retractions that name events."""

Kind = Literal["prediction", "feedback", "retraction"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LATE = "late"
"""The kind of the worker's own field in a record: this late feedback is a dead letter already."""

APPLICATIONS_KEY = "joinback:applications"
LAYOUTS_KEY = "joinback:layouts"
RULES_KEY = "joinback:rules"
WORKERS_KEY = "joinback:workers"
DRAINS_KEY = "joinback:drains"
DROPS_KEY = "joinback:drops"
PAUSED_KEY = "joinback:paused"
SINK_KEY = "joinback:sink"
ALL_APPLICATIONS = "*"
"""The field of `joinback:sink` for each application without a field of its own."""
GROUP = "worker"

# --- limits, each with its reason -----------------------------------------------------------------------

APPLICATION_BYTES_MAX = 200
"""The name is a part of every key, so a longer one costs memory per record."""
JOIN_KEY_BYTES_MAX = 512
"""Room for a URL or a composite id, and still one line on a terminal."""
EVENT_ID_BYTES_MAX = 64
"""Room for a UUID or a SHA-256 in hex."""
SOURCE_BYTES_MAX = 64
"""The name of who gives labels. It stands on each of their events."""
SHARDS_MAX = 1_024
"""Each shard costs the worker a command per drain. A cluster seldom has a tenth as many nodes."""
EVENT_BYTES_MAX = 1 << 20
"""1 MiB, as in Gantry. While Redis sends one big reply, all its other clients wait."""
RECORD_EVENTS_MAX = 1_000
"""HGETALL of a hash of this size takes about a millisecond. A record without a limit would block the server."""
DEAD_LETTERS_MAX = 100_000
"""At 1 KB each about 100 MB, which a Redis survives. The counters count further letters too."""
DEAD_TTL_S = 30 * 86_400
"""A month: long enough to come back from a holiday and replay."""
LATE_MARK_TTL_S = 86_400
"""For a mark on a record that Redis has let go: far longer than a worker takes to come back and settle again."""
STATS_TTL_S = 180 * 86_400
"""As long as the default join window: while a record can change, its counters exist."""

DROPS_ENTRIES_MAX = 2_000
"""Some 400 KB: the last twenty minutes of a hundred processes that all lose events all the time."""
DROPS_TTL_S = 7 * 86_400
"""A week, as for records: after a long weekend one can still read which service lost events."""
HISTORY_ENTRIES_MAX = 2_016
"""A week of drains every five minutes: enough to compare this Monday with the last. Some 100 KB per tag."""

# --- events ---------------------------------------------------------------------------------------------

if TYPE_CHECKING:
    Json = Any
else:
    # The client encodes any object here. The worker decodes the bytes as they are, and passes them on unchanged.
    Json = Raw

UNSAMPLED = 1.0


def sample_rate_of(rate: float) -> float:
    """Return the rate as an event carries it: msgspec omits a default only if it is the same object."""
    return UNSAMPLED if rate == UNSAMPLED else rate


Utc = Annotated[datetime, Meta(tz=True)]


class Event(Struct, kw_only=True, omit_defaults=True, gc=False):
    """The fields that the three kinds share. An event never changes once it is written.

    `at` is the caller's time of what happened. `logged_at` is the client's clock at the call; it lets the worker judge
    `at` without a clock. The event id is not here: it is a part of the hash field's name.
    """

    v: int
    at: Utc
    logged_at: Utc
    version: str | None = None
    environment: str | None = None
    tags: dict[str, Json] = {}


class Prediction(Event, kw_only=True, omit_defaults=True, gc=False):
    """What a model was asked and what it answered. `sample_rate` is the share of join keys that was logged."""

    inputs: Json
    outputs: Json
    sample_rate: float = UNSAMPLED


class Feedback(Event, kw_only=True, omit_defaults=True, gc=False):
    """What became of a prediction, as one or more fields."""

    feedback: dict[str, Json]
    source: str | None = None
    """Who gave it: `human`, `model`, `rule`, or a name of the caller's."""


class Retraction(Event, kw_only=True, omit_defaults=True, gc=False):
    """Takes feedback back: all events up to its time; or, if it names events, these and no others."""

    fields: list[str] | None = None
    """The feedback fields taken back; None means all of them."""
    event_ids: list[str] | None = None
    """The feedback events taken back, whatever their time."""
    retraction_ids: list[str] | None = None
    """The earlier retractions taken back: what they took counts again."""


class Application(Struct, frozen=True):
    """The value of one application in `joinback:applications`. Both sides read it."""

    shards: Annotated[int, Meta(ge=1, le=SHARDS_MAX)] = 1
    sample_rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The highest rate at which predictions were logged; feedback follows it. None before the first prediction."""


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "prediction": msgspec.json.Decoder(Prediction),
    "feedback": msgspec.json.Decoder(Feedback),
    "retraction": msgspec.json.Decoder(Retraction),
}


class _Versioned(Struct):
    v: int = 0


_VERSION_DECODER = msgspec.json.Decoder(_Versioned)
encode = msgspec.json.Encoder().encode


def decode_event(kind: str, data: bytes) -> Event:
    """Return the event that a hash value holds.

    Raises NewerWireVersion for an event of a later client, and UndecodableEvent for anything else that is not an event
    of this kind.
    """
    try:
        nesting.check(data)
        # As str the UTF-8 is checked everywhere; in bytes msgspec does not check what becomes Raw.
        event: Event = _DECODERS[kind].decode(data if data.isascii() else data.decode())
        version = event.v
        if event.at.tzinfo is not UTC or event.logged_at.tzinfo is not UTC:
            event.at, event.logged_at = event.at.astimezone(UTC), event.logged_at.astimezone(UTC)
        if isinstance(event, Prediction):
            event.sample_rate = sample_rate_of(event.sample_rate)
    # RecursionError: nested deeper than the decoder allows. ValueError: bad UTF-8 or bad JSON. OverflowError: a time
    # that leaves the years 1 to 9999 when it becomes UTC.
    except (KeyError, ValueError, RecursionError, OverflowError) as error:
        version = _version_of(data)
        if version <= WIRE_VERSION:
            detail = f"no event kind {kind!r}" if isinstance(error, KeyError) else str(error)
            raise UndecodableEvent(detail) from None
    if version > WIRE_VERSION:
        raise NewerWireVersion(f"wire version {version}, this worker reads up to {WIRE_VERSION}")
    return event


def decode_application(data: bytes) -> Application | None:
    """Return the application; None if the value is something else, written by somebody else."""
    try:
        return msgspec.json.decode(data, type=Application)
    except ValueError:
        return None


def _version_of(data: bytes) -> int:
    try:
        return _VERSION_DECODER.decode(data).v
    except (ValueError, RecursionError):
        return 0


# --- keys -----------------------------------------------------------------------------------------------

# Also `/`: an application named "loans/3" must not share a tag with shard 3 of "loans".
_UNSAFE_IN_TAG = re.compile(r"[{}%/\s\x00-\x1f\x7f-\x9f]")


@lru_cache(maxsize=4096)
def tag(application: str, shard: int = 0, shards: int = 1) -> str:
    """Return the hash tag of all keys of this application and shard."""
    name = _UNSAFE_IN_TAG.sub(lambda match: quote(match.group(), safe=""), application)
    return name if shards == 1 else f"{name}/{shard}"


def tags(application: str, shards: int) -> Iterable[str]:
    """Return the hash tags of all shards of this application."""
    return (tag(application, shard, shards) for shard in range(shards))


def tag_of(application: str, join_key: str, shards: int) -> str:
    """Return the hash tag of this join key. By CRC-32, so that producers in any language agree."""
    return tag(application, zlib.crc32(join_key.encode()) % shards if shards > 1 else 0, shards)


def layout_field(application: str, shards: int) -> str:
    """Return the field of `joinback:layouts` for this number of shards."""
    return f"{shards}:{application}"


def rules_field(application: str, digest: str) -> str:
    """Return the field of `joinback:rules` for these rules of the application."""
    return f"{digest}:{application}"


def drain_field(application: str, *, is_done: bool) -> str:
    """Return the field of `joinback:drains` for the application's last good drain, or its last failed one."""
    return f"{'done' if is_done else 'failed'}:{application}"


def drop_field(reason: str, application: str) -> bytes:
    """Return a field of an entry of `joinback:drops`. `application` is empty if the drops have none."""
    return f"dropped:{reason}:{application}".encode(errors="replace")


def drop_of(field: bytes) -> tuple[str, str] | None:
    """Return reason and application of a `drop_field`; None for any other field."""
    kind, _, rest = field.decode(errors="replace").partition(":")
    reason, colon, application = rest.partition(":")
    return (reason, application) if kind == "dropped" and colon else None


def record_key(tag: str, join_key: str) -> str:
    return f"joinback:{{{tag}}}:record:{join_key}"


def pending_key(tag: str) -> str:
    return f"joinback:{{{tag}}}:pending"


def dead_key(tag: str) -> str:
    return f"joinback:{{{tag}}}:dead"


def stats_key(tag: str) -> str:
    return f"joinback:{{{tag}}}:stats"


def history_key(tag: str) -> str:
    return f"joinback:{{{tag}}}:history"


def fields_key(tag: str) -> str:
    return f"joinback:{{{tag}}}:fields"


def erased_key(tag: str) -> str:
    return f"joinback:{{{tag}}}:erased"


def keys_of(tag: str) -> list[str]:
    """Return all keys of the tag, except its records and `erased`, which must outlive the rest."""
    return [key(tag) for key in (pending_key, stats_key, dead_key, history_key, fields_key)]


# --- the one write path ---------------------------------------------------------------------------------

WRITE_SCRIPT = (Path(__file__).parent / "write.lua").read_text(encoding="utf-8")
"""Writes a batch of events of one tag, atomically. Its header is the contract for producers in any language."""
WRITE_SHA = hashlib.sha1(WRITE_SCRIPT.encode(), usedforsecurity=False).hexdigest()
WRITE_REPLY_MIN = 4
"""The reply begins with so many numbers: accepted, duplicates, overflowed, is_new."""


def write_keys(tag: str, join_keys: Iterable[str]) -> list[bytes]:
    """Return KEYS of the write script: three keys of the tag, then the record key of each event."""
    prefix = record_key(tag, "")
    return [*map(str.encode, (pending_key(tag), stats_key(tag), dead_key(tag), *[prefix + key for key in join_keys]))]


def write_arguments(tag: str, buffer_ttl_s: int, events: Iterable[tuple[str, bytes]]) -> list[bytes]:
    """Return ARGV of the write script: the limits, then the field and the JSON of each event."""
    limits = buffer_ttl_s, STATS_TTL_S, DEAD_TTL_S, DEAD_LETTERS_MAX, RECORD_EVENTS_MAX
    written = [part for field, payload in events for part in (field.encode(), payload)]
    return [b"%d" % limit for limit in (len(record_key(tag, "").encode()), *limits)] + written
