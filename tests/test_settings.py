"""The environment: every wrong variable is one line that names it and the fix."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinback.errors import ConfigurationError
from joinback.settings import Settings, settings_from


def test_nothing_set_means_the_defaults() -> None:
    """An empty environment is a working one."""
    assert settings_from({"PATH": "/bin"}) == Settings()


def test_all_set() -> None:
    """Each field is read from JOINBACK_ and its name in capitals."""
    settings = settings_from(
        {
            "JOINBACK_REDIS_URL": "rediss://user:p%40ss@cache.internal:6380/2",
            "JOINBACK_QUEUE_URL": "unix:///run/redis.sock",
            "JOINBACK_SINK_URL": "sqlite:////var/lib/joinback.db",
            "JOINBACK_INTERVAL_S": "60",
            "JOINBACK_BUFFER_TTL_S": "3600",
            "JOINBACK_JOIN_WINDOW_S": "86400",
            "JOINBACK_EMIT": "joined",
            "JOINBACK_REDUCERS": '{"loans": {"clicks": "sum"}}',
            "JOINBACK_MATURITY_S": '{"loans": 2592000}',
            "JOINBACK_DEFAULT_FEEDBACK": '{"loans": {"clicked": false}}',
            "JOINBACK_ENVIRONMENT": "production",
        }
    )
    assert settings == Settings(
        redis_url="rediss://user:p%40ss@cache.internal:6380/2",
        queue_url="unix:///run/redis.sock",
        sink_url="sqlite:////var/lib/joinback.db",
        interval_s=60,
        buffer_ttl_s=3600,
        join_window_s=86400,
        emit="joined",
        reducers={"loans": {"clicks": "sum"}},
        maturity_s={"loans": 2592000},
        default_feedback={"loans": {"clicked": False}},
        environment="production",
    )


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("JOINBACK_INTERVALL_S", "60", "did you mean JOINBACK_INTERVAL_S"),
        ("JOINBACK_X", "60", "known are JOINBACK_BUFFER_TTL_S"),
        ("JOINBACK_INTERVAL_S", "five", "JOINBACK_INTERVAL_S='five': Expected int"),
        ("JOINBACK_INTERVAL_S", "0", "JOINBACK_INTERVAL_S='0': Expected int >= 1"),
        ("JOINBACK_INTERVAL_S", "1.5", "JOINBACK_INTERVAL_S='1.5': Expected int"),
        ("JOINBACK_BUFFER_TTL_S", "-1", "JOINBACK_BUFFER_TTL_S='-1': Expected int >= 1"),
        ("JOINBACK_EMIT", "some", "JOINBACK_EMIT='some': Expected one of all, joined"),
        ("JOINBACK_MATURITY_S", "soon", "JOINBACK_MATURITY_S is not JSON"),
        ("JOINBACK_MATURITY_S", "60", "JOINBACK_MATURITY_S=60: Expected object"),
        ("JOINBACK_MATURITY_S", '{"loans": 0}', "Expected int >= 1"),
        ("JOINBACK_REDUCERS", '{"loans": {"clicks": "add"}}', "Invalid enum value 'add'"),
        ("JOINBACK_DEFAULT_FEEDBACK", '{"loans": 1}', "Expected object"),
        ("JOINBACK_REDIS_URL", "localhost:6379", "JOINBACK_REDIS_URL is not a Redis URL; write redis://"),
        ("JOINBACK_REDIS_URL", "http://localhost", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://:hunter2@host:port/0", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://:hunter2@host:99999/0", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://host/zero", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://[::1", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "", "not a Redis URL"),
        ("JOINBACK_QUEUE_URL", "amqp://host", "JOINBACK_QUEUE_URL is not a Redis URL"),
    ],
)
def test_a_wrong_variable_is_one_line_with_the_fix(variable: str, value: str, says: str) -> None:
    """The message names the variable and what to write, and never a password."""
    with pytest.raises(ConfigurationError) as raised:
        settings_from({variable: value})
    message = str(raised.value)
    assert says in message
    assert "\n" not in message
    assert "hunter2" not in message


@given(st.sampled_from(Settings.__struct_fields__), st.text())
def test_no_value_makes_a_traceback(field: str, value: str) -> None:
    """Whatever stands in a variable, it is a setting or a ConfigurationError."""
    with contextlib.suppress(ConfigurationError):
        settings_from({f"JOINBACK_{field.upper()}": value})


def test_settings_do_not_show_passwords() -> None:
    """A Settings in a log line or a traceback keeps the URLs to itself."""
    assert "hunter2" not in repr(Settings(redis_url="redis://:hunter2@h/0", sink_url="postgresql://u:hunter2@h/d"))
