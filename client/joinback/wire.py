"""The wire contract: all that client and worker must agree on, and the only file that spells a Redis key.

Every key of one application lives under one hash tag, so a Redis Cluster keeps them in one slot and the
write script stays atomic. `{tag}` is the application's name, percent-encoded where it would break the key;
an application with several shards has one tag a shard, `name/shard`.

    joinback:{tag}:record:<join_key>   HASH    `<kind>:<event_id>` -> the event as JSON; and the worker's
                                               `late:<event_id>` -> how late that feedback came
    joinback:{tag}:pending             STREAM  group `worker`; `key=<join_key> kind=<kind> id=<event_id>`;
                                               its own id is the receive time by Redis's clock
    joinback:{tag}:dead                STREAM  what cannot become a row: key, event, reason, detail, bytes
    joinback:{tag}:stats               HASH    counters: received:<kind>, in_rows, duplicates, dead:<reason>, …
    joinback:{tag}:history             STREAM  the counters, and `pending`, as they were at the end of each drain
    joinback:{tag}:fields              HASH    `seen:<feedback field>` -> when it was first seen; `again:<field>` ->
                                               when it was told a second time; `broken:<field>` -> how many of its
                                               values are not what is declared of it
    joinback:{tag}:erased              HASH    `salt`, and for each erased join key SHA-1(salt + join key) -> until when
                                               whatever comes of it is erased again, in Unix seconds
    joinback:applications              HASH    application -> JSON {"shards":1,"sample_rate":1.0}
    joinback:layouts                   HASH    `<shards>:<application>` -> when it was last seen with so many shards
    joinback:rules                     HASH    `<digest>:<application>` -> which worker folded by these rules, since
                                               when and when last, as JSON
    joinback:workers                   HASH    worker (host:pid) -> its newest sign of life, as JSON
    joinback:drains                    HASH    `done:<application>`, `failed:<application>` -> who drained it last, and
                                               when, as JSON
    joinback:sink                      HASH    application, or `*` for all others -> which sink its rows go to: JSON
                                               {"fingerprint":…,"url":…,"host":…,"since":…,"found":…}, no secret
    joinback:drops                     STREAM  what clients dropped since each told it last: `process` and `number` (one
                                               entry is told again if its answer is lost), `host`, `service`,
                                               `dropped:<reason>:<application>` -> how many events
    joinback:paused                    STRING  there while Redis is nearly full: clients hold predictions back

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
"""The newest that this release reads. Raised when an older worker could misread a new event; it then leaves such
events pending."""
PLAIN_VERSION = 1
"""What an event carries that any worker reads. 2 is for feedback with a source, and retractions that name events."""

Kind = Literal["prediction", "feedback", "retraction"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LATE = "late"
"""The kind of the worker's own field: this feedback was told as a dead letter, so it is told once."""

APPLICATIONS_KEY = "joinback:applications"
LAYOUTS_KEY = "joinback:layouts"
RULES_KEY = "joinback:rules"
WORKERS_KEY = "joinback:workers"
DRAINS_KEY = "joinback:drains"
DROPS_KEY = "joinback:drops"
PAUSED_KEY = "joinback:paused"
SINK_KEY = "joinback:sink"
ALL_APPLICATIONS = "*"
"""The field of `joinback:sink` for every application without one of its own."""
GROUP = "worker"

# --- limits, each with its reason -----------------------------------------------------------------------

APPLICATION_BYTES_MAX = 200
"""It is a part of every key; longer names cost memory in each record."""
JOIN_KEY_BYTES_MAX = 512
"""Room for a URL or a composite id, and still one line on a terminal."""
EVENT_ID_BYTES_MAX = 64
"""Room for a UUID or a SHA-256 in hex."""
SOURCE_BYTES_MAX = 64
"""A name of who tells labels; it stands on each of its events."""
SHARDS_MAX = 1_024
"""Each costs the worker a command per tick; a cluster has seldom a tenth as many nodes."""
EVENT_BYTES_MAX = 1 << 20
"""1 MiB, as Gantry had. Redis answers one big reply slowly for everybody else."""
RECORD_EVENTS_MAX = 1_000
"""HGETALL of a hash this size takes about a millisecond; an endless record would block the server."""
DEAD_LETTERS_MAX = 100_000
"""At 1 KB each about 100 MB, an amount one Redis survives; the counters still count beyond it."""
DEAD_TTL_S = 30 * 86_400
"""A month: long enough to come back from a holiday and replay."""
LATE_MARK_TTL_S = 86_400
"""A mark on a record that Redis had let go: many times what a worker takes to come back and settle again."""
STATS_TTL_S = 180 * 86_400
"""As long as the default join window: while a record can change, its counters are there."""

DROPS_ENTRIES_MAX = 2_000
"""Some 400 KB: of a hundred processes that lose events all the time, the last twenty minutes of each."""
DROPS_TTL_S = 7 * 86_400
"""A week, as the buffer's: who comes back from a long weekend still reads which service lost events."""
HISTORY_ENTRIES_MAX = 2_016
"""A week of drains every five minutes: this Monday beside the last one. Some 100 KB for each tag."""

# --- events ---------------------------------------------------------------------------------------------

if TYPE_CHECKING:
    Json = Any
else:
    # Encoded from any object; decoded as the bytes they were, which the worker carries through untouched.
    Json = Raw

UNSAMPLED = 1.0


def sample_rate_of(rate: float) -> float:
    """The rate as an event carries it: msgspec omits a default only if it is the very same object."""
    return UNSAMPLED if rate == UNSAMPLED else rate


Utc = Annotated[datetime, Meta(tz=True)]


class Event(Struct, kw_only=True, omit_defaults=True, gc=False):
    """What the three kinds share. Immutable once written.

    `at` is when it happened, as the caller said; `logged_at` is the client's clock at the call, so that the
    fold needs no clock of its own. The event id is not here: it is a part of the hash field's name.
    """

    v: int
    at: Utc
    logged_at: Utc
    version: str | None = None
    environment: str | None = None
    tags: dict[str, Json] = {}


class Prediction(Event, kw_only=True, omit_defaults=True, gc=False):
    inputs: Json
    outputs: Json
    sample_rate: float = UNSAMPLED


class Feedback(Event, kw_only=True, omit_defaults=True, gc=False):
    feedback: dict[str, Json]
    source: str | None = None
    """Who told it: `human`, `model`, `rule`, or a name of the caller's."""


class Retraction(Event, kw_only=True, omit_defaults=True, gc=False):
    """Takes feedback back: what was told up to its time; or, if it names events, these and no others."""

    fields: list[str] | None = None
    """The feedback fields taken back; None means all of them."""
    event_ids: list[str] | None = None
    """The feedback events taken back, whatever their time."""
    retraction_ids: list[str] | None = None
    """The earlier retractions taken back: what they took counts again."""


class Application(Struct, frozen=True):
    """What `joinback:applications` says of one application; both sides read it."""

    shards: Annotated[int, Meta(ge=1, le=SHARDS_MAX)] = 1
    sample_rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The highest rate at which predictions were logged, which feedback follows; None: there were none yet."""


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
    """Read one hash value back.

    Raises NewerWireVersion for an event that a later client wrote, UndecodableEvent for anything else that
    is not an event of this kind.
    """
    try:
        nesting.check(data)
        # As text it is checked whole; of bytes msgspec leaves unread what becomes Raw.
        event: Event = _DECODERS[kind].decode(data if data.isascii() else data.decode())
        version = event.v
        if event.at.tzinfo is not UTC or event.logged_at.tzinfo is not UTC:
            event.at, event.logged_at = event.at.astimezone(UTC), event.logged_at.astimezone(UTC)
        if isinstance(event, Prediction):
            event.sample_rate = sample_rate_of(event.sample_rate)
    # RecursionError: nesting deeper than the decoder's stack. ValueError covers bad UTF-8 and bad JSON;
    # OverflowError a time that leaves the years 1 to 9999 on its way to UTC.
    except (KeyError, ValueError, RecursionError, OverflowError) as error:
        version = _version_of(data)
        if version <= WIRE_VERSION:
            detail = f"no event kind {kind!r}" if isinstance(error, KeyError) else str(error)
            raise UndecodableEvent(detail) from None
    if version > WIRE_VERSION:
        raise NewerWireVersion(f"wire version {version}, this worker reads up to {WIRE_VERSION}")
    return event


def decode_application(data: bytes) -> Application | None:
    """None if somebody wrote something else there."""
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

# `/` too: an application named "loans/3" must not share a tag with shard 3 of "loans".
_UNSAFE_IN_TAG = re.compile(r"[{}%/\s\x00-\x1f\x7f-\x9f]")


@lru_cache(maxsize=4096)
def tag(application: str, shard: int = 0, shards: int = 1) -> str:
    """The hash tag that all keys of this application (and shard) carry."""
    name = _UNSAFE_IN_TAG.sub(lambda match: quote(match.group(), safe=""), application)
    return name if shards == 1 else f"{name}/{shard}"


def tags(application: str, shards: int) -> Iterable[str]:
    return (tag(application, shard, shards) for shard in range(shards))


def tag_of(application: str, join_key: str, shards: int) -> str:
    """The tag that holds this join key. CRC-32, so that a producer in any language agrees."""
    return tag(application, zlib.crc32(join_key.encode()) % shards if shards > 1 else 0, shards)


def layout_field(application: str, shards: int) -> str:
    """The field of `joinback:layouts` that remembers this number of shards."""
    return f"{shards}:{application}"


def rules_field(application: str, digest: str) -> str:
    """The field of `joinback:rules` that says who folds the application by these rules."""
    return f"{digest}:{application}"


def drain_field(application: str, *, is_done: bool) -> str:
    """The field of `joinback:drains` that says when a drain of the application last ended well, or failed."""
    return f"{'done' if is_done else 'failed'}:{application}"


def drop_field(reason: str, application: str) -> bytes:
    """The field of an entry of `joinback:drops`. `application` is empty for drops that name none."""
    return f"dropped:{reason}:{application}".encode(errors="replace")


def drop_of(field: bytes) -> tuple[str, str] | None:
    """Reason and application of such a field; None for any other field."""
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
    """All keys of the tag but its records, and the tombstones of erased ones, which outlive the rest."""
    return [key(tag) for key in (pending_key, stats_key, dead_key, history_key, fields_key)]


# --- the one write path ---------------------------------------------------------------------------------

WRITE_SCRIPT = (Path(__file__).parent / "write.lua").read_text(encoding="utf-8")
"""Writes a batch of events of one tag, atomically. Its header is its contract, for producers in any language."""
WRITE_SHA = hashlib.sha1(WRITE_SCRIPT.encode(), usedforsecurity=False).hexdigest()
WRITE_REPLY_MIN = 4
"""How many numbers its reply begins with: accepted, duplicates, overflowed, is_new."""
ANNOUNCE_SCRIPT = (Path(__file__).parent / "announce.lua").read_text(encoding="utf-8")
"""Tells the worker of an application, atomically."""
NOTE_SCRIPT = (Path(__file__).parent / "note.lua").read_text(encoding="utf-8")
"""Notes numbers of shards in joinback:layouts."""
TELL_DROPS_SCRIPT = (Path(__file__).parent / "tell_drops.lua").read_text(encoding="utf-8")
"""Adds an entry to joinback:drops."""


def write_keys(tag: str, join_keys: Iterable[str]) -> list[bytes]:
    """KEYS of the write script: three keys of the tag, then the record key of each event."""
    prefix = record_key(tag, "")
    return [*map(str.encode, (pending_key(tag), stats_key(tag), dead_key(tag), *[prefix + key for key in join_keys]))]


def write_arguments(tag: str, buffer_ttl_s: int, events: Iterable[tuple[str, bytes]]) -> list[bytes]:
    """ARGV of the write script: limits, then the field and the JSON of each event."""
    limits = buffer_ttl_s, STATS_TTL_S, DEAD_TTL_S, DEAD_LETTERS_MAX, RECORD_EVENTS_MAX
    told = [part for field, payload in events for part in (field.encode(), payload)]
    return [b"%d" % limit for limit in (len(record_key(tag, "").encode()), *limits)] + told
