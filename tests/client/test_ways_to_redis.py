"""What `init` takes besides a URL: a client that the caller made, and credentials that rotate."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S
from documents import rights as acl
from documents import rights_beside
from topologies import Cluster, Sentinels

import joinback
from joinback import wire
from joinback.errors import ConfigurationError
from joinback.redis_url import redis_url
from joinback_worker.connection.connect import open_redis


@pytest.fixture
def locked(server: redis.Redis) -> Iterator[redis.Redis]:
    """The server, for a user whose password changes."""
    server.execute_command("ACL", "SETUSER", "iam", "reset", "on", ">token1", "~joinback:*", "+@all")
    yield server
    server.execute_command("ACL", "DELUSER", "iam")


def test_a_client_of_the_callers(server: redis.Redis, redis_url: str) -> None:
    """Events go where that client leads, and not where the environment says."""
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as theirs,
        closing(joinback.Client().init(redis=theirs)) as client,
    ):
        client.log_record("loans", inputs=1, outputs=2, join_key="k")
        assert client.flush()
        assert client.ping()
    assert server.hlen(wire.record_key("loans", "k")) == 1


def test_a_token_that_rotates(locked: redis.Redis, redis_url: str, wait_until: Any) -> None:
    """The credentials are asked at each login: a new token is used when the old one has ended, and no event is lost."""
    token = ["token1"]
    with closing(joinback.Client().init(redis_url, credentials=lambda: ("iam", token[0]))) as client:
        client.log_record("loans", inputs=1, outputs=2, join_key="a")
        assert client.flush()
        locked.execute_command("ACL", "SETUSER", "iam", "resetpass", ">token2")
        locked.execute_command("CLIENT", "KILL", "USER", "iam")
        client.log_record("loans", inputs=1, outputs=2, join_key="b")
        assert not client.flush(0.3)
        token[0] = "token2"
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == 2


def test_a_plain_url_to_a_cluster_is_told(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """One line names the scheme to write, the events wait, and with that scheme they are sent."""
    place = cluster.nodes[0].address
    with closing(joinback.Client().init(f"redis://{place}/0")) as client:
        client.log_record("loans", inputs=1, outputs=2)
        assert not client.flush(0.5)
        assert not client.ping()
        assert client.stats()["buffered"] == 1
    assert f"{place} is one node of a Redis Cluster; write redis+cluster:// instead of redis://" in caplog.text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"redis": "redis://h"}, "redis must be a redis.Redis"),
        ({"redis": redis.Redis(), "redis_url": "redis://h"}, "give one of them"),
        ({"credentials": "token"}, "credentials must be callable"),
        ({"redis_url": "redis+cluster://h/1"}, "redis_url names a database"),
        ({"redis_url": "redis://h?decode_responses=1"}, "redis_url has the option decode_responses"),
    ],
)
def test_what_init_refuses(given: dict[str, Any], says: str) -> None:
    """A wrong way to Redis is a ConfigurationError of `init`, with the fix, and not a later surprise."""
    with pytest.raises(ConfigurationError, match=says):
        joinback.Client().init(**given)


def rights(site: Cluster | Sentinels) -> tuple[list[str], list[str]]:
    """Return the rules of the client's user there, and of a user of the Sentinels."""
    on_a_cluster, behind_sentinels, at_sentinels = rights_beside("On a cluster the client needs `")
    added = on_a_cluster if isinstance(site, Cluster) else behind_sentinels
    return [*acl("joinback-client"), *added], ["on", ">secret", *at_sentinels]


@pytest.mark.parametrize("shape", ["cluster", "sentinels"])
def test_the_least_rights_are_enough(shape: str, request: pytest.FixtureRequest) -> None:
    """The client's rights, with what is added for a cluster or behind Sentinels: nothing it asks is refused."""
    site: Cluster | Sentinels = request.getfixturevalue(shape)
    asked = site.sentinels if isinstance(site, Sentinels) else []
    rules, at_sentinels = rights(site)
    url = site.url.replace("://", "://joinback-client:secret@")
    if asked:
        url += "?sentinel_username=joinback-look&sentinel_password=secret"
    try:
        for node in site.nodes:
            node.ask("ACL", "SETUSER", "joinback-client", "reset", *rules)
            node.ask("ACL", "LOG", "RESET")
        for sentinel in asked:
            sentinel.ask("ACL", "SETUSER", "joinback-look", "reset", *at_sentinels)
        with closing(joinback.Client().init(url, strict=True)) as client:
            for application in ("loans", "ads", "fraud"):
                client.log_record(application, inputs=1, outputs=2)
            assert client.flush(PATIENCE_S)
            assert client.ping()
        for node in site.nodes:
            assert node.ask("ACL", "LOG") == []
        # The worker asks the Sentinels otherwise; a cluster it asks as a user with more rights.
        assert not asked or asyncio.run(primary_is_found_by_the_worker(url))
    finally:
        for node in site.nodes:
            node.ask("ACL", "DELUSER", "joinback-client")
        for sentinel in asked:
            sentinel.ask("ACL", "DELUSER", "joinback-look")


async def primary_is_found_by_the_worker(url: str) -> bool:
    redis = open_redis(redis_url(url, "URL"))
    try:
        return not await redis.execute_command("EXISTS", "joinback:none")
    finally:
        await redis.aclose()
