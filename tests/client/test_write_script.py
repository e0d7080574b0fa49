"""The batch write script on a real server: what it writes, and what it leaves alone when something is wrong."""

import pytest
import redis

from joinback import wire
from joinback._delivery.scripts import ANNOUNCE
from joinback._delivery.transport import transport_of
from joinback.redis_errors import RedisRefusal
from joinback.redis_url import redis_url as read_url

TAG = wire.tag("loans")
FEEDBACK = b'{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z","feedback":{"repaid":true}}'


def write(
    server: redis.Redis, *events: tuple[str, str], ttl_s: int = 600, payload: bytes = FEEDBACK
) -> tuple[int, int, int, list[int]]:
    """Write (join key, field) pairs as one batch."""
    keys = wire.write_keys(TAG, (join_key for join_key, _ in events))
    arguments = wire.write_arguments(TAG, ttl_s, ((field, payload) for _, field in events))
    accepted, duplicates, overflowed, _, *failed = server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
    return accepted, duplicates, overflowed, failed


def stats(server: redis.Redis) -> dict[str, int]:
    counters = server.hgetall(wire.stats_key(TAG))
    return {name.decode(): int(value) for name, value in counters.items() if name != b"buffer_ttl_s"}


def pending(server: redis.Redis) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in server.xrange(wire.pending_key(TAG))]


def test_a_batch_is_stored_queued_and_counted(server: redis.Redis) -> None:
    """Each event is a field of its record, has one pending entry, and is counted by its kind."""
    assert write(server, ("loan_17", "prediction:a"), ("loan_17", "feedback:b"), ("loan_18", "feedback:c")) == (
        3,
        0,
        0,
        [],
    )
    assert server.hgetall(wire.record_key(TAG, "loan_17")) == {b"prediction:a": FEEDBACK, b"feedback:b": FEEDBACK}
    assert pending(server) == [
        {b"key": b"loan_17", b"kind": b"prediction", b"id": b"a"},
        {b"key": b"loan_17", b"kind": b"feedback", b"id": b"b"},
        {b"key": b"loan_18", b"kind": b"feedback", b"id": b"c"},
    ]
    assert stats(server) == {"batches": 1, "received:prediction": 1, "received:feedback": 2}
    assert server.ttl(wire.record_key(TAG, "loan_17")) == 600
    assert [group["name"] for group in server.xinfo_groups(wire.pending_key(TAG))] == [b"worker"]


def test_the_same_batch_again_changes_nothing(server: redis.Redis) -> None:
    """A batch whose reply was lost is sent again: its events are duplicates, and nothing becomes pending twice."""
    batch = [("loan_17", "prediction:a"), ("loan_18", "feedback:b")]
    write(server, *batch)
    assert write(server, *batch) == (0, 2, 0, [])
    assert len(pending(server)) == 2
    assert stats(server)["duplicates"] == 2
    assert stats(server)["received:prediction"] == 2


def test_a_duplicate_keeps_the_first_bytes(server: redis.Redis) -> None:
    """An event is immutable: a second one with its id does not replace it."""
    write(server, ("loan_17", "feedback:a"))
    write(server, ("loan_17", "feedback:a"), payload=b"{}")
    assert server.hget(wire.record_key(TAG, "loan_17"), "feedback:a") == FEEDBACK


def test_one_wrong_record_does_not_stop_the_others(server: redis.Redis) -> None:
    """A record key of another type is reported by its index; the rest of the batch is stored."""
    server.set(wire.record_key(TAG, "loan_18"), "somebody's", ex=60)
    assert write(server, ("loan_17", "feedback:a"), ("loan_18", "feedback:b"), ("loan_19", "feedback:c")) == (
        2,
        0,
        0,
        [2],
    )
    assert len(pending(server)) == 2
    assert stats(server)["received:feedback"] == 2


def test_a_wrong_pending_key_refuses_the_batch_whole(server: redis.Redis) -> None:
    """Before anything is written: an event without a pending entry would never become a row."""
    server.set(wire.pending_key(TAG), "somebody's", ex=60)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        write(server, ("loan_17", "feedback:a"))
    assert server.keys("joinback:*") == [wire.pending_key(TAG).encode()]


def test_a_full_server_refuses_the_batch_whole(server: redis.Redis, redis_url: str) -> None:
    """At maxmemory with noeviction a batch leaves no trace, and the client knows that it is nobody's fault."""
    write(server, ("loan_17", "feedback:a"))
    before = {key: server.dump(key) for key in server.keys("*")}
    keys = wire.write_keys(TAG, ["loan_17", "loan_18"])
    arguments = wire.write_arguments(TAG, 600, [("feedback:b", FEEDBACK), ("feedback:c", FEEDBACK)])
    connection = transport_of(read_url(redis_url, "URL"))
    connection.connect()
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisRefusal) as raised:
            connection.send([b"EVAL", wire.WRITE_SCRIPT.encode(), b"%d" % len(keys), *keys, *arguments], keys[0])
    finally:
        server.config_set("maxmemory", 0)
        connection.disconnect()
    assert raised.value.is_server_wide
    assert {key: server.dump(key) for key in server.keys("*")} == before


def test_a_record_holds_so_many_events_and_no_more(server: redis.Redis) -> None:
    """Beyond the limit feedback becomes a dead letter with its bytes; the prediction still finds its place."""
    fields = [("loan_17", f"feedback:{n}") for n in range(wire.RECORD_EVENTS_MAX)]
    assert write(server, *fields)[0] == wire.RECORD_EVENTS_MAX
    assert write(server, ("loan_17", "feedback:more"), ("loan_17", "feedback:0")) == (0, 1, 1, [])
    assert write(server, ("loan_17", "prediction:a")) == (1, 0, 0, [])
    ((_, letter),) = server.xrange(wire.dead_key(TAG))
    assert letter[b"reason"] == b"feedback_overflow"
    assert letter[b"bytes"] == FEEDBACK
    assert stats(server)["dead:feedback_overflow"] == 1


def test_a_short_ttl_does_not_shorten_a_long_one(server: redis.Redis) -> None:
    """Two clients with different buffer TTLs: the record lives as long as the longer promise."""
    write(server, ("loan_17", "feedback:a"), ttl_s=600)
    write(server, ("loan_17", "feedback:b"), ttl_s=5)
    assert server.ttl(wire.record_key(TAG, "loan_17")) > 500


def test_the_pending_stream_outlives_the_records(server: redis.Redis) -> None:
    """A worker that was away for longer than the buffer TTL finds what it missed, and counts it."""
    write(server, ("loan_17", "feedback:a"), ttl_s=600)
    assert server.ttl(wire.record_key(TAG, "loan_17")) <= 600
    assert server.ttl(wire.pending_key(TAG)) > wire.STATS_TTL_S - 60 > 600


def test_entries_older_than_the_buffer_ttl_are_trimmed_and_counted(server: redis.Redis) -> None:
    """With no worker the pending stream stays bounded, and what it lets go is on the books."""
    seconds, _ = server.time()
    for n in range(200):
        server.xadd(
            wire.pending_key(TAG), {"key": f"old_{n}", "kind": "feedback"}, id=f"{(seconds - 700) * 1000}-{n + 1}"
        )
    write(server, ("loan_17", "feedback:a"), ttl_s=600)
    trimmed = stats(server)["dead:pending_expired"]
    assert trimmed >= 100  # whole nodes of 100 entries
    assert len(pending(server)) == 201 - trimmed


def test_a_short_ttl_trims_nobody_elses_entries(server: redis.Redis) -> None:
    """Entries are let go by the longest buffer TTL that any client ever told, not by that of who writes now."""
    write(server, ("loan_17", "feedback:a"), ttl_s=700_000)
    seconds, _ = server.time()
    server.delete(wire.pending_key(TAG))
    for n in range(300):
        server.xadd(
            wire.pending_key(TAG), {"key": f"k{n}", "kind": "feedback"}, id=f"{(seconds - 600_000) * 1000}-{n + 1}"
        )
    write(server, ("loan_18", "feedback:b"), ttl_s=1)
    assert len(pending(server)) == 301
    assert server.hget(wire.stats_key(TAG), "buffer_ttl_s") == b"700000"
    assert "dead:pending_expired" not in stats(server)


@pytest.mark.parametrize("told", ["soon", "nan", "inf", "1e300", "-1", ""])
def test_a_buffer_ttl_that_no_client_told_is_forgotten(server: redis.Redis, told: str) -> None:
    """What stands in the place of the longest buffer TTL, and is none, is replaced by the writer's own."""
    server.hset(wire.stats_key(TAG), "buffer_ttl_s", told)
    assert write(server, ("loan_17", "feedback:a"), ttl_s=600)[0] == 1
    assert server.hget(wire.stats_key(TAG), "buffer_ttl_s") == b"600"


def test_a_text_among_the_counters_fails_no_event(server: redis.Redis) -> None:
    """A counter that somebody altered is left alone, and events are stored, queued and counted elsewhere."""
    for name in ("batches", "received:feedback", "duplicates", "note"):
        server.hset(wire.stats_key(TAG), name, "see ticket 12")
    assert write(server, ("loan_17", "feedback:a"), ("loan_17", "feedback:a")) == (1, 1, 0, [])
    assert write(server, ("loan_18", "prediction:a")) == (1, 0, 0, [])
    assert len(pending(server)) == 2
    assert server.hget(wire.stats_key(TAG), "batches") == b"see ticket 12"
    assert server.hget(wire.stats_key(TAG), "received:prediction") == b"1"


@pytest.mark.parametrize("key", [wire.pending_key(TAG), wire.stats_key(TAG)])
def test_a_wrong_type_refuses_the_batch_before_it_writes(server: redis.Redis, key: str) -> None:
    """Something else at the pending stream or at the counters: nothing of the batch is there."""
    server.set(key, "somebody's", ex=60)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        write(server, ("loan_17", "feedback:a"))
    assert server.keys("joinback:*") == [key.encode()]


def test_no_stream_of_dead_letters_costs_only_who_needs_it(server: redis.Redis) -> None:
    """An event beyond its record's limit, and something else where dead letters go: reported, the others stored."""
    write(server, *(("loan_17", f"feedback:{n}") for n in range(wire.RECORD_EVENTS_MAX)))
    server.set(wire.dead_key(TAG), "somebody's", ex=60)
    assert write(server, ("loan_17", "feedback:more"), ("loan_18", "feedback:a")) == (1, 0, 0, [1])
    assert stats(server)["received:feedback"] == wire.RECORD_EVENTS_MAX + 1


def test_a_new_stream_is_told(server: redis.Redis) -> None:
    """The fourth number of the reply says that there was no pending stream: the application may be unknown too."""
    keys = wire.write_keys(TAG, ["loan_17"])
    replies = []
    for n in range(2):
        arguments = wire.write_arguments(TAG, 600, [(f"feedback:{n}", FEEDBACK)])
        replies.append(server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments))
    assert replies == [[1, 0, 0, 1], [1, 0, 0, 0]]


def announce(server: redis.Redis, seen: str, wanted: str) -> str:
    arguments = [wire.APPLICATIONS_KEY, "loans", seen, wanted, 600]
    answer: bytes = server.eval(ANNOUNCE.text, 1, *arguments)
    return answer.decode()


def test_an_announcement_is_one_step(server: redis.Redis) -> None:
    """It stands only if nobody else announced meanwhile, whose word is answered; and the key always has a TTL."""
    assert announce(server, "", "ours") == "ours"
    assert server.ttl(wire.APPLICATIONS_KEY) > 500
    assert announce(server, "", "later") == "ours"
    server.hset(wire.APPLICATIONS_KEY, "loans", "theirs")
    assert announce(server, "ours", "later") == "theirs"
    assert announce(server, "theirs", "later") == "later"
    assert server.hget(wire.APPLICATIONS_KEY, "loans") == b"later"
