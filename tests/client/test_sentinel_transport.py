"""To a primary behind real Sentinels: found, followed when it fails over, and told in words when it is not there."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from conftest import PATIENCE_S, wait_for
from strangers import answering
from topologies import Sentinels

import joinback
from joinback._delivery.transport import Transport, transport_of, trouble_with
from joinback.redis_errors import RedisRefusal
from joinback.redis_url import redis_url as read_url

KEY = b"joinback:applications"


def to(url: str) -> Transport:
    return transport_of(read_url(url, "URL"))


@contextmanager
def connected(url: str) -> Iterator[Transport]:
    transport = to(url)
    transport.connect()
    try:
        yield transport
    finally:
        transport.disconnect()


def write(transport: Transport, value: bytes = b"1") -> Any:
    if not transport.connected:
        transport.connect()
    return transport.send([b"SET", KEY, value, b"EX", b"99"], KEY)


def patiently(attempt: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Try as the sender does, until it is done."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            attempt()
        except (RedisRefusal, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def test_the_primary_is_found(sentinels: Sentinels) -> None:
    """Any Sentinel of those named leads to the primary; those that are gone are passed over."""
    with connected(sentinels.url) as transport:
        write(transport, b"here")
        assert sentinels.primary.ask("GET", KEY.decode()) == "here"
        assert transport.where == f"{sentinels.primary.address} (joinback)"
    last = sentinels.sentinels[-1].address
    assert trouble_with(to(f"redis+sentinel://127.0.0.1:1,{last}/joinback"), KEY) is None
    assert "no connection to Redis" in (trouble_with(to("redis+sentinel://127.0.0.1:1/joinback"), KEY) or "")


def test_a_wrong_service_is_told(sentinels: Sentinels) -> None:
    """The Sentinels know no such name: said so, and where to look."""
    said = trouble_with(to(sentinels.url.replace("/joinback/", "/other/")), KEY)
    assert said is not None
    assert "knows no service 'other'" in said


def test_a_sentinels_port_in_a_plain_url_is_told(sentinels: Sentinels) -> None:
    """The line holds the very URL to write."""
    place = sentinels.sentinels[0].address
    said = trouble_with(to(f"redis://{place}/0"), KEY)
    assert said is not None
    assert f"write redis+sentinel://{place}/joinback/0" in said


def test_a_failover_while_the_old_primary_lives(sentinels: Sentinels) -> None:
    """A demoted primary hangs up or answers READONLY; the new one is found, and is another server."""
    with connected(sentinels.url) as transport:
        write(transport)
        before, changes = transport.server_of(KEY), transport.changes
        new = sentinels.fail_over()
        patiently(lambda: write(transport, b"2"))
        assert new.ask("GET", KEY.decode()) == "2"
        assert transport.server_of(KEY) != before
        assert transport.changes == changes + 1


def test_readonly_leads_to_the_new_primary(sentinels: Sentinels) -> None:
    """A connection that outlived the demotion is given up at its first READONLY."""
    with connected(sentinels.url) as transport:
        old = sentinels.primary
        # Else demoted nodes hang up on everybody.
        old.ask("REPLICAOF", "127.0.0.1", sentinels.replicas[0].port)
        with pytest.raises((RedisRefusal, OSError)):
            write(transport)
        assert not transport.connected
        old.ask("REPLICAOF", "NO", "ONE")


def test_a_killed_primary(sentinels: Sentinels) -> None:
    """What the Sentinels promote is found; until then each attempt is an error that passes."""
    with connected(sentinels.url) as transport:
        write(transport)
        before = transport.server_of(KEY)
        sentinels.primary.kill()
        patiently(lambda: write(transport, b"2"))
        assert transport.server_of(KEY) != before


@pytest.mark.heavy
def test_what_the_former_primary_took_is_sent_again(sentinels: Sentinels) -> None:
    """An operator orders a failover. The old primary goes on to say OK, for ten seconds, and forgets it all."""
    old, logged = sentinels.primary, 0

    def is_over() -> bool:
        nonlocal logged
        client.log_record("loans", inputs=1, outputs=2, join_key=f"k{logged}")
        logged += 1
        return old.follows(sentinels.primary)

    with closing(joinback.Client().init(sentinels.url, strict=True)) as client:
        client.log_record("loans", inputs=1, outputs=2)
        assert client.flush(PATIENCE_S)
        sentinels.order_failover()
        wait_for(is_over)
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == logged + 1
    assert len(sentinels.primary.scan("joinback:{loans}:record:*")) == logged + 1


def test_a_replica_that_a_sentinel_names_is_passed_over(sentinels: Sentinels) -> None:
    """A Sentinel that was away names the old primary: it is asked for its role, and the next Sentinel for another."""
    named = sentinels.replicas[0].port
    wrong = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(named)), named)
    with answering(b"$-1\r\n", wrong) as stale:
        place = stale.removeprefix("redis://").removesuffix("/0")
        said = trouble_with(to(f"redis+sentinel://{place}/joinback"), KEY)
        assert said is not None
        assert f"127.0.0.1:{named} is not a primary any more" in said
        right = sentinels.sentinels[0].address
        with connected(f"redis+sentinel://{place},{right}/joinback") as transport:
            assert write(transport) == b"OK"


def test_logins_of_both_kinds() -> None:
    """The Sentinels have a login of their own; who forgot it, or gave the wrong one, is told which of the two."""
    with ExitStack() as stack:
        locked = Sentinels(stack, password="data", sentinel_password="watch")
        url = f"{locked.url}?sentinel_password=watch"
        with connected(url) as transport:
            assert write(transport) == b"OK"
        for wrong in (locked.url, f"{locked.url}?sentinel_password=other"):
            assert "it has one of its own" in (trouble_with(to(wrong), KEY) or "")
        assert (trouble_with(to(url.replace("data@", "other@")), KEY) or "").startswith("Redis refused the login")
