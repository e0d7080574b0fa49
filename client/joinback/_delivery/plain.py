"""Plain predictions on their way to Redis. Nearly all events are plain: `Funnel.put_plain` says which.

At its call only what the caller may change later is encoded: the values. The rest of the JSON, its times and the
event's id are the same but for some digits in all events of a batch, so the sender writes them for the batch as a
whole, for a fraction of what each call would take. It does not put the JSON together either: the pieces go into the
command as they are. Whoever does need the events, such as the spool, reads the batch as a sequence of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast, overload

from msgspec import Struct

from joinback import ids, values, wire

from .command import Command, heads

Buffered: TypeAlias = tuple[str, str, str, bytes]
"""An encoded event: application, join key, field in the record's hash (`<kind>:<event_id>`), JSON.

A plain tuple, because a named one takes five times as long to make.
"""
Plain: TypeAlias = tuple[str, str, int, int, bytes, bytes, bytes]
"""What a call leaves of a plain prediction: application, join key, the call's time in ns, the bytes that its JSON will
have, and three parts of that JSON: what `Middles` has, the inputs, and the outputs."""
PLAIN_FIELDS: Final = 7
_SECOND_NS = 1_000_000_000
_START, _BETWEEN = b'{"v":%d,"at":"' % wire.PLAIN_VERSION, b'Z","logged_at":"'
_OUTPUTS, _END = b',"outputs":', b"}"
FRAME_BYTES = len(_START) + len(_BETWEEN) + 2 * len("2026-11-23T11:00:00.123456") + len(_OUTPUTS) + len(_END)
"""The bytes of an event's JSON that are in none of its three parts. They are always as many: the years have four digits
as long as a time in ns fits into 64 bits."""
VERSIONS_MAX = 1_000
"""More versions than that in one process are no versions of models, and not worth the memory."""
MIDDLE_BYTES_MAX = 1_000
"""So all that are kept take a megabyte at most. No name of a version is so long."""


class _Attributes(Struct, omit_defaults=True):
    """The attributes of an event, by their names on the wire and in their order there."""

    version: str | None = None
    environment: str | None = None
    tags: dict[str, Any] = {}


class Middles:
    """The part of an event's JSON between its times and its inputs, by version."""

    def __init__(self, environment: str | None) -> None:
        self._environment = environment
        self.known: dict[str | None, bytes] = {}
        """Version -> the part without tags. Each event looks here first, to save a call."""

    def of(self, version: str | None, tags: dict[str, Any] | None) -> bytes:
        """Return the part. May raise anything that the encoder raises."""
        attributes = values.encode(_Attributes(version, self._environment, tags or {}))[1:-1]
        middle = b'Z",%b%b"inputs":' % (attributes, b"," if attributes else b"")
        if not tags and len(self.known) < VERSIONS_MAX and len(middle) <= MIDDLE_BYTES_MAX:
            self.known[version] = middle
        return middle


class EventIds:
    """The ids of one buffer's plain predictions, many at once.

    They begin with the process, as those of `ids.new_id` do, and go on with `p` and the number of the buffer in it. So
    the sender's thread counts them alone.
    """

    def __init__(self) -> None:
        self._begin = ids.new_buffer()
        self._thousands = -1

    def start(self) -> bytes:
        """Return all but the last three digits of a thousand new ids, as they begin in the fields of a record."""
        # Read once: another call may come between this line and the next.
        self._thousands = number = self._thousands + 1
        return f"prediction:{self._begin}{number}".encode()


BATCH_MAX = 1_000
"""As many as three last digits tell apart, and as the sender takes at once."""
_LAST_DIGITS = [b"%03d" % number for number in range(BATCH_MAX)]


class PlainBatch(Sequence[Buffered]):
    """Plain predictions as the sender takes them, with the ids that they keep: at least one, at most BATCH_MAX.

    As a sequence it holds the same events as any other batch. They are put together when somebody looks at one.
    """

    __slots__ = ("_at_ns", "_digits", "_events", "_parts", "_sizes", "_start", "applications", "join_keys", "size")

    def __init__(self, taken: Iterable[Plain], start: bytes, digits: Sequence[bytes] | None = None) -> None:
        self.applications, self.join_keys, self._at_ns, self._sizes, *parts = zip(*taken, strict=True)
        self._parts: list[tuple[bytes, ...]] = parts
        self._start = start
        self._digits = _LAST_DIGITS[: len(self.join_keys)] if digits is None else digits
        self.size: int = sum(self._sizes)
        """The bytes of JSON in these events."""
        self._events: list[Buffered] | None = None

    def __len__(self) -> int:
        return len(self.join_keys)

    @overload
    def __getitem__(self, index: int) -> Buffered: ...
    @overload
    def __getitem__(self, index: slice) -> list[Buffered]: ...
    def __getitem__(self, index: int | slice) -> Buffered | list[Buffered]:
        return self._put_together()[index]

    def __iter__(self) -> Iterator[Buffered]:
        return iter(self._put_together())

    def _put_together(self) -> list[Buffered]:
        if self._events is None:
            pieces = self._pieces()
            starts = range(0, len(pieces), PIECES)
            fields = [(self._start + digits).decode() for digits in self._digits]
            payloads = [b"".join(pieces[first + FIELD_PIECES : first + PIECES]) for first in starts]
            self._events = list(zip(self.applications, self.join_keys, fields, payloads, strict=True))
        return self._events

    def grouped(self, names: Sequence[str]) -> dict[str, "PlainBatch"]:
        """Return name -> the events at whose places in `names` it stands, in order."""
        if len(set(names)) == 1:
            return {names[0]: self}
        groups: defaultdict[str, list[tuple[bytes, Plain]]] = defaultdict(list)
        taken = zip(self.applications, self.join_keys, self._at_ns, self._sizes, *self._parts, strict=True)
        for name, digits, event in zip(names, self._digits, taken, strict=True):
            groups[name].append((digits, event))
        return {
            name: PlainBatch([event for _, event in group], self._start, [digits for digits, _ in group])
            for name, group in groups.items()
        }

    def add_to(self, command: Command) -> None:
        """Add the events' fields and JSON to a command."""
        command.add_pieces(2 * len(self), self._pieces())

    def _pieces(self) -> list[bytes]:
        """Return PIECES for each event: head, beginning and end of its field; the head of its JSON, and the JSON.

        First as often as there are events what all have; then over it, place by place, what each has.
        """
        seconds, micros = _times(self._at_ns)
        (head,) = heads([len(self._start) + len(_LAST_DIGITS[0])])
        row = [head + self._start, b"", b"", _START + seconds[0], b"", _BETWEEN + seconds[0], b"", b"", b"", _OUTPUTS]
        pieces = [*row, b"", _END] * len(self)
        pieces[1::PIECES] = self._digits
        pieces[2::PIECES] = heads(self._sizes)
        if len(seconds) > 1:
            pieces[3::PIECES] = [_START + second for second in seconds]
            pieces[5::PIECES] = [_BETWEEN + second for second in seconds]
        pieces[4::PIECES] = pieces[6::PIECES] = micros
        pieces[7::PIECES], pieces[8::PIECES], pieces[10::PIECES] = self._parts
        return pieces


FIELD_PIECES = 3
PIECES = 12


def batch_of(taken: Sequence[Buffered | Plain], event_ids: EventIds) -> Sequence[Buffered]:
    """Return these events as one PlainBatch, if all are plain; else with the plain ones among them put together."""
    # By their lengths, in one loop in C: nearly all batches are plain, or hold nothing plain.
    lengths = set(map(len, taken))
    if PLAIN_FIELDS not in lengths:
        return cast("Sequence[Buffered]", taken)
    if len(lengths) == 1 and len(taken) <= BATCH_MAX:
        return PlainBatch(cast("Sequence[Plain]", taken), event_ids.start())
    plain = [event for event in taken if len(event) == PLAIN_FIELDS]
    batches = [PlainBatch(plain[n : n + BATCH_MAX], event_ids.start()) for n in range(0, len(plain), BATCH_MAX)]
    ready = chain.from_iterable(batches)
    return [next(ready) if len(event) == PLAIN_FIELDS else event for event in taken]


def size_of(batch: Iterable[Buffered]) -> int:
    """Return the bytes of JSON in these events."""
    return batch.size if isinstance(batch, PlainBatch) else sum(map(len, map(_payload, batch)))


def waiting_sizes(events: Iterable[Buffered | Plain]) -> list[int]:
    """Return the bytes of JSON in each of these events as they wait in the buffer."""
    return [found if isinstance(found, int) else len(found) for found in map(_payload, events)]


_payload = itemgetter(3)


def _times(at_ns: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
    """Return the times in two halves: up to the second and its point, and the six digits after it.

    Of the first halves only one, if all are the same.
    """
    # Counted from the second before, so that each number has seven digits, and the first of them is a 1.
    base_ns = (at_ns[0] // _SECOND_NS - 1) * _SECOND_NS
    micros = [(ns - base_ns) // 1_000 for ns in at_ns]
    if min(micros) > 1_000_000 and max(micros) < 2_000_000:
        seconds = [_text_of(at_ns[0] // _SECOND_NS)]
    else:
        # A batch may have waited for more than a second, and the clock may go back.
        texts = {second: _text_of(second) for second in {ns // _SECOND_NS for ns in at_ns}}
        seconds = [texts[ns // _SECOND_NS] for ns in at_ns]
        # Never 000000: msgspec leaves that out, and an event that is written again must have the same bytes.
        micros = [1_000_000 + max(1, ns % _SECOND_NS // 1_000) for ns in at_ns]
    # As JSON, [1123456,1123457]: one call writes all, and the 1 of each is a part of what divides them.
    return seconds, wire.encode(micros)[2:-1].split(b",1")


def _text_of(second: int) -> bytes:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.".encode()
