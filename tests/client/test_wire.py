"""The wire contract, byte for byte: yesterday's client is in Redis while today's worker deploys."""

import contextlib
from datetime import UTC, datetime
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

import joinback
from joinback import wire
from joinback._delivery import Funnel
from joinback.errors import NewerWireVersion, UndecodableEvent
from joinback.options import Options

AT = datetime(2026, 11, 23, 11, 0, 0, 123456, tzinfo=UTC)
LOGGED_AT = datetime(2026, 11, 23, 11, 0, 1, tzinfo=UTC)

GOLDEN = {
    "prediction": (
        wire.Prediction(
            v=1,
            at=AT,
            logged_at=LOGGED_AT,
            version="1.0",
            environment="production",
            tags={"region": Raw(b'"eu"')},
            inputs=Raw(b'{"amount":900}'),
            outputs=Raw(b"0.07"),
            sample_rate=0.5,
        ),
        b'{"v":1,"at":"2026-11-23T11:00:00.123456Z","logged_at":"2026-11-23T11:00:01Z","version":"1.0",'
        b'"environment":"production","tags":{"region":"eu"},"inputs":{"amount":900},"outputs":0.07,"sample_rate":0.5}',
    ),
    "feedback": (
        wire.Feedback(v=1, at=AT, logged_at=LOGGED_AT, feedback={"repaid": Raw(b"true"), "note": Raw(b"null")}),
        b'{"v":1,"at":"2026-11-23T11:00:00.123456Z","logged_at":"2026-11-23T11:00:01Z",'
        b'"feedback":{"repaid":true,"note":null}}',
    ),
    "retraction": (
        wire.Retraction(v=1, at=AT, logged_at=LOGGED_AT, fields=["repaid"]),
        b'{"v":1,"at":"2026-11-23T11:00:00.123456Z","logged_at":"2026-11-23T11:00:01Z","fields":["repaid"]}',
    ),
}
NEWER_GOLDEN = {
    "feedback": (
        wire.Feedback(v=2, at=AT, logged_at=LOGGED_AT, feedback={"repaid": Raw(b"true")}, source="human"),
        b'{"v":2,"at":"2026-11-23T11:00:00.123456Z","logged_at":"2026-11-23T11:00:01Z",'
        b'"feedback":{"repaid":true},"source":"human"}',
    ),
    "retraction": (
        wire.Retraction(v=2, at=AT, logged_at=LOGGED_AT, event_ids=["f"], retraction_ids=["r"]),
        b'{"v":2,"at":"2026-11-23T11:00:00.123456Z","logged_at":"2026-11-23T11:00:01Z",'
        b'"event_ids":["f"],"retraction_ids":["r"]}',
    ),
}
"""What only a worker that knows them may read: an older one would take back too much, or believe anybody."""


@pytest.mark.parametrize("golden", [GOLDEN, NEWER_GOLDEN], ids=["plain", "newer"])
def test_golden_bytes(golden: dict[str, tuple[wire.Event, bytes]]) -> None:
    """An event of each kind is written as these bytes, and read back as itself."""
    for kind, (event, encoded) in golden.items():
        assert wire.encode(event) == encoded
        assert wire.decode_event(kind, encoded) == event


def test_only_what_needs_it_has_the_newer_version() -> None:
    """A worker of before joins all that a client of today writes without a source, and without naming events."""
    client = joinback.Client()
    funnel = client._funnel = Funnel(Options())
    with mock.patch.object(Funnel, "_start"):
        client.log_record("loans", inputs=1, outputs=2, feedback={"a": 1}, join_key="k")
        client.log_record("loans", feedback={"a": 1}, join_key="k", source="human")
        client.log_record("loans", inputs=1, outputs=2, join_key="k")
        client.retract("loans", "k", fields=["a"])
        client.retract("loans", "k", event_ids=["f"])
        client.retract("loans", "k", retraction_ids=["r"])
    versions = [
        (field.split(":")[0], msgspec.json.decode(payload)["v"])
        for _, _, field, payload in funnel._buffer.take(10, 1 << 20)
    ]
    plain = [
        ("prediction", 1),
        ("feedback", 1),
        ("feedback", 2),
        ("prediction", 1),
        ("retraction", 1),
        ("retraction", 2),
        ("retraction", 2),
    ]
    assert versions == plain


def test_wire_version_is_pinned() -> None:
    """Changing the version means changing the golden bytes: this test stands beside them."""
    assert wire.WIRE_VERSION == 2


@pytest.mark.parametrize("kind", GOLDEN)
def test_one_event_has_one_encoding(kind: str) -> None:
    """Read and written again, by whatever way it came, an event has the same bytes: rows depend on it."""
    _event, encoded = GOLDEN[kind]
    assert wire.encode(wire.decode_event(kind, encoded)) == encoded
    explicit = encoded.replace(b'"sample_rate":0.5', b'"sample_rate":1.0,"tags":{}')
    assert b"sample_rate" not in wire.encode(wire.decode_event(kind, explicit))


def test_a_field_we_do_not_know_is_ignored() -> None:
    """A later client may add a field without raising the version."""
    event, encoded = GOLDEN["feedback"]
    assert wire.decode_event("feedback", encoded[:-1] + b',"colour":"red"}') == event


@pytest.mark.parametrize("body", [b'{"v":9}', b'{"v":9,"at":1}', GOLDEN["feedback"][1].replace(b'"v":1', b'"v":7')])
def test_a_newer_version_is_told_apart(body: bytes) -> None:
    """An event of a newer version is not called broken, whatever else is in it."""
    with pytest.raises(NewerWireVersion):
        wire.decode_event("feedback", body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"v":1}',
        GOLDEN["feedback"][1].replace(b"true", b"tru"),
        GOLDEN["feedback"][1].replace(b"true", b'"\xff"'),
        GOLDEN["feedback"][1].replace(b"11:00:00.123456Z", b"11:00:00.123456"),  # naive
        GOLDEN["feedback"][1].replace(b"2026-11-23T11:00:00.123456Z", b"0001-01-01T00:00:00+09:00"),
        GOLDEN["feedback"][1].replace(b"true", b"[" * 100_000),
    ],
)
def test_bad_bytes_raise_one_error(body: bytes) -> None:
    """Bytes that are no event raise UndecodableEvent and nothing else."""
    with pytest.raises(UndecodableEvent):
        wire.decode_event("feedback", body)


@given(st.sampled_from(["prediction", "feedback", "retraction", "other", ""]), st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_error_of_ours(kind: str, body: bytes) -> None:
    """No byte string makes the decoder raise anything but its two errors."""
    with contextlib.suppress(UndecodableEvent, NewerWireVersion):
        wire.decode_event(kind, body)


def test_keys_are_guessable_by_hand() -> None:
    """The keys of an application with a plain name read as the documents say."""
    tag = wire.tag("loans")
    assert wire.record_key(tag, "loan_17") == "joinback:{loans}:record:loan_17"
    assert wire.pending_key(tag) == "joinback:{loans}:pending"
    assert wire.dead_key(tag) == "joinback:{loans}:dead"
    assert wire.stats_key(tag) == "joinback:{loans}:stats"
    assert wire.history_key(tag) == "joinback:{loans}:history"


@given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_tags_are_injective_and_safe(a: str, b: str, shards_a: int, shards_b: int, shard: int) -> None:
    """Two applications never share a tag, in any shard, and no tag breaks out of its braces."""
    tag_a, tag_b = wire.tag(a, shard % shards_a, shards_a), wire.tag(b, shard % shards_b, shards_b)
    assert not set("{}") & set(tag_a)
    assert a == b or tag_a != tag_b


def test_a_tag_names_its_shard() -> None:
    """With several shards a join key always goes to the same one, spelled application/shard."""
    tags = {wire.tag_of("loans", f"loan_{n}", 4) for n in range(100)}
    assert tags == {f"loans/{shard}" for shard in range(4)}
    assert wire.tag_of("loans", "loan_17", 4) == wire.tag_of("loans", "loan_17", 4) == "loans/1"
