"""The URL of a Redis: one reading for both sides, every mistake in one line that names it, and no secret shown."""

import contextlib
from typing import Any
from urllib.parse import quote

import pytest
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from joinback.errors import ConfigurationError
from joinback.redis_url import connection_options, redis_url, sentinel_options

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(TEXT, TEXT)
def test_logins_of_any_characters(user: str, password: str) -> None:
    """What is percent-encoded is decoded once: in front of the host, and in the query."""
    user_, password_ = quote(user, safe=""), quote(password, safe="")
    for text in (
        f"redis://{user_}:{password_}@h:1/2",
        f"redis://h:1/2?username={user_}&password={password_}",
        f"unix:///p?db=2&username={user_}&password={password_}",
        f"redis+sentinel://{user_}:{password_}@h:1/name/2",
    ):
        read = redis_url(text, "URL")
        assert (read.username, read.password, read.database) == (user, password, 2)


def test_a_plus_and_a_lone_percent_stand_for_themselves() -> None:
    """Tokens in base64 hold a plus; whoever forgot to encode a percent sign meant one."""
    assert redis_url("redis://h?password=a+b%", "URL").password == "a+b%"
    assert redis_url("redis://:a+b%@h", "URL").password == "a+b%"
    assert redis_url("redis://:p%2525@h", "URL").password == "p%25"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", {"kind": "server", "nodes": (("h", 6379),), "database": 0, "tls": None}),
        ("redis://h:7/", {"nodes": (("h", 7),), "database": 0}),
        ("redis://[::1]:7/3", {"nodes": (("::1", 7),), "database": 3}),
        ("redis://h/3?db=4", {"database": 4}),
        ("redis://token@h", {"username": "token", "password": None}),
        ("redis://:@h", {"username": None, "password": ""}),
        ("rediss://h", {"tls": {"ssl_check_hostname": True}}),
        ("rediss://h?ssl_cert_reqs=none", {"tls": {"ssl_check_hostname": False, "ssl_cert_reqs": "none"}}),
        ("rediss://h?ssl_check_hostname=False", {"tls": {"ssl_check_hostname": False}}),
        ("unix:///run/r%20s.sock", {"path": "/run/r s.sock", "nodes": ()}),
        ("unix:///run/r.sock?db=2", {"path": "/run/r.sock", "database": 2}),
        ("redis+cluster://a:1,[::2]:2,c", {"kind": "cluster", "nodes": (("a", 1), ("::2", 2), ("c", 6379))}),
        ("rediss+cluster://a:1/0", {"kind": "cluster", "tls": {"ssl_check_hostname": True}}),
        (
            "redis+sentinel://u:p@a:1,b/my%2Fname/2?sentinel_username=s&sentinel_password=%3F",
            {
                "kind": "sentinel",
                "nodes": (("a", 1), ("b", 26379)),
                "service": "my/name",
                "database": 2,
                "username": "u",
                "sentinel_username": "s",
                "sentinel_password": "?",
            },
        ),
        ("redis://h?socket_timeout=0.5&socket_connect_timeout=2", {"socket_timeout_s": 0.5, "connect_timeout_s": 2.0}),
        ("redis://h?protocol=3&client_name=n&socket_keepalive=no", {"protocol": 3, "keepalive": False}),
    ],
)
def test_what_a_url_says(text: str, expected: dict[str, Any]) -> None:
    """Each shape of Redis has its scheme; servers, database, service, login and options are read from it."""
    read = redis_url(text, "URL")
    assert {name: getattr(read, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a Redis URL; write redis://"),
        ("h:6379", "is not a Redis URL; write redis://"),
        ("memory:/", "or memory:// for tests"),
        ("memry://", "or memory:// for tests"),
        ("http://h", "redis+cluster://"),
        ("redis://", "host:port"),
        ("redis://[::1", "host:port"),
        ("redis://h:", "host:port"),
        ("redis://h:0", "host:port"),
        ("redis://h:99999", "host:port"),
        ("redis://:hunter2@h:port/0", "host:port"),
        ("redis://:hunter2/x@h:1/0", "/ is %2F"),
        ("redis://:hunter2#x@h:1/0", "write %23"),
        ("redis://:hunter2?x@h:1/0", "? is %3F"),
        ("redis://h/zero", "a database by its number"),
        ("redis://h/-1", "a database by its number"),
        ("redis://h/1/2", "one database follows the host"),
        ("redis://h?db=one", "wrong db"),
        ("redis://a:1,b:2", "redis+cluster:// or redis+sentinel://"),
        ("redis+cluster://a:1,,b:2", "host:port"),
        ("redis+cluster://a:1/1", "Redis Cluster has only 0"),
        ("redis+sentinel://a:1", "names no service"),
        ("redis+sentinel://a:1/name/0/1", "one database follows the service"),
        ("redis://h?sentinel_password=hunter2", "login for Sentinels"),
        ("unix://", "names no socket"),
        ("redis://h?ssl_cert_reqs=none", "ssl_cert_reqs without TLS"),
        ("rediss://h?ssl_cert_reqs=no", "none, optional or required"),
        ("rediss://h?ssl_min_version=1.1", "TLSv1.2 or TLSv1.3"),
        ("rediss://h?ssl_check_hostname=maybe", "true or false"),
        ("rediss://h?ssl_password=hunter2", "the option ssl_password, which Joinback does not take"),
        ("redis://h?decode_responses=true", "it reads bytes"),
        ("redis://h?max_connections=5", "max_connections, which Joinback does not take"),
        ("redis://h?socket_timeot=5", "did you mean socket_timeout?"),
        ("redis://h?hunter2", "known are"),
        ("redis://h?db", "db without a value"),
        ("redis://h?db=1&db=2", "db twice"),
        ("redis://h?protocol=4", "write 2 or 3"),
        ("redis://h?health_check_interval=-1", "whole seconds"),
        ("redis://h?socket_timeout=0", "over 0"),
        ("redis://h?socket_timeout=-1", "over 0"),
        ("redis://h?socket_timeout=nan", "over 0"),
        ("redis://h?socket_timeout=inf", "over 0"),
        ("redis://h?socket_connect_timeout=soon", "over 0"),
    ],
)
def test_a_wrong_url_is_one_line_with_the_fix(text: str, says: str) -> None:
    """The line begins with the setting, says what is wrong and what to write, and holds no secret."""
    with pytest.raises(ConfigurationError) as raised:
        redis_url(text, "JOINBACK_REDIS_URL")
    message = str(raised.value)
    assert message.startswith("JOINBACK_REDIS_URL ")
    assert says in message
    assert "\n" not in message
    assert "hunter2" not in message


@given(st.one_of(st.text(), st.text().map(lambda text: f"redis://{text}")))
def test_no_text_is_a_traceback(text: str) -> None:
    """Whatever stands in the setting, it is a Redis or a ConfigurationError."""
    with contextlib.suppress(ConfigurationError):
        redis_url(text, "URL")


def test_no_secret_is_shown() -> None:
    """Neither logins nor what an option holds stand in what is printed of it."""
    read = redis_url("rediss+sentinel://jo:hunter2@h:1/name/0?sentinel_password=hunter2&ssl_ca_data=hunter2", "URL")
    assert repr(read) == "RedisUrl(rediss+sentinel://…@h:1/name/0)"
    assert repr(redis_url("redis+cluster://:hunter2@a:1,[::1]:2", "URL")) == "RedisUrl(redis+cluster://…@a:1,[::1]:2/0)"
    assert repr(redis_url("unix:///p?password=hunter2", "URL")) == "RedisUrl(unix://…@/p/0)"


EVERY_OPTION = (
    "socket_timeout=1&socket_connect_timeout=1&socket_keepalive=true&health_check_interval=9&client_name=n&protocol=3"
)
EVERY_TLS_OPTION = (
    "ssl_ca_certs=/a&ssl_ca_data=a&ssl_certfile=/c&ssl_keyfile=/k&ssl_cert_reqs=optional&ssl_check_hostname=true"
    "&ssl_min_version=TLSv1.3&ssl_ciphers=ALL"
)


@pytest.mark.parametrize("half", [redis.connection, redis.asyncio.connection])
@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"redis://u:p@h/1?{EVERY_OPTION}", "Connection"),
        (f"rediss://u:p@h/1?{EVERY_OPTION}&{EVERY_TLS_OPTION}", "SSLConnection"),
        (f"unix:///p?db=1&username=u&password=p&{EVERY_OPTION}", "UnixDomainSocketConnection"),
    ],
)
def test_both_halves_of_redis_py_take_every_option(half: Any, text: str, name: str) -> None:
    """There is no option that one side takes and the other does not."""
    read = redis_url(text, "URL")
    assert getattr(half, name)(**connection_options(read, 2.0)).db == 1
    assert getattr(half, name)(**sentinel_options(read, 2.0)).db == 0
