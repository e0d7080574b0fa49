"""The environment: each side checks its own variables, and a wrong one is one line that names it and the fix."""

import contextlib
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, Cli, process_environment, wait_for
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import (
    _TYPO,
    BOTH,
    CLIENT,
    WORKER,
    Settings,
    _nearest,
    client_settings,
    reader_of,
    settings_from,
)

KUBERNETES = {
    # A Service named joinback-redis, one named joinback, and a Docker link of that name.
    "JOINBACK_REDIS_SERVICE_HOST": "10.0.0.7",
    "JOINBACK_REDIS_SERVICE_PORT": "6379",
    "JOINBACK_REDIS_SERVICE_PORT_TCP_REDIS": "6379",
    "JOINBACK_REDIS_PORT": "tcp://10.0.0.7:6379",
    "JOINBACK_REDIS_PORT_6379_TCP": "tcp://10.0.0.7:6379",
    "JOINBACK_REDIS_PORT_6379_TCP_PROTO": "tcp",
    "JOINBACK_REDIS_PORT_6379_TCP_PORT": "6379",
    "JOINBACK_REDIS_PORT_6379_TCP_ADDR": "10.0.0.7",
    "JOINBACK_SERVICE_HOST": "10.0.0.8",
    "JOINBACK_PORT": "udp://10.0.0.8:53",
    "JOINBACK_PORT_53_UDP": "udp://10.0.0.8:53",
    "JOINBACK_REDIS_NAME": "/web/joinback-redis",
    "JOINBACK_REDIS_ENV_GOSU_VERSION": "1.17",
}


def test_nothing_set_means_the_defaults() -> None:
    """An empty environment is a working one."""
    assert settings_from({"PATH": "/bin"}) == Settings()


def test_all_set() -> None:
    """Each field is read from JOINBACK_ and its name in capitals, by who is to read it."""
    environ = {
        "JOINBACK_REDIS_URL": "rediss://user:p%40ss@cache.internal:6380/2",
        "JOINBACK_REDIS_CREDENTIALS": "tokens.iam:login",
        "JOINBACK_QUEUE_URL": "unix:///run/redis.sock",
        "JOINBACK_SINK_URL": "sqlite:////var/lib/joinback.db",
        "JOINBACK_INTERVAL_S": "60",
        "JOINBACK_BUFFER_TTL_S": "3600",
        "JOINBACK_JOIN_WINDOW_S": "86400",
        "JOINBACK_EMIT": "joined",
        "JOINBACK_CONFIG": "/etc/joinback.toml",
        "JOINBACK_ENVIRONMENT": "production",
        "JOINBACK_SPOOL_DIR": "/var/lib/joinback",
        "JOINBACK_DASHBOARD_PASSWORD": "open sesame",
    }
    both = Settings(
        redis_url="rediss://user:p%40ss@cache.internal:6380/2",
        redis_credentials="tokens.iam:login",
        queue_url="unix:///run/redis.sock",
        sink_url="sqlite:////var/lib/joinback.db",
        interval_s=60,
        buffer_ttl_s=3600,
        join_window_s=86400,
        emit="joined",
        config="/etc/joinback.toml",
        environment="production",
        spool_dir="/var/lib/joinback",
        dashboard_password="open sesame",
    )
    client, lines = client_settings(environ)
    for field in Settings.__struct_fields__:
        for side, settings in ((WORKER, settings_from(environ)), (CLIENT, client)):
            is_read = reader_of(field) in (side, BOTH)
            assert getattr(settings, field) == getattr(both if is_read else Settings(), field), field
    assert lines == []


def test_each_variable_says_who_reads_it() -> None:
    """A field without a reader could be nobody's."""
    assert {reader_of(field) for field in Settings.__struct_fields__} == {CLIENT, WORKER, BOTH}


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("JOINBACK_INTERVALL_S", "60", "did you mean JOINBACK_INTERVAL_S"),
        ("JOINBACK_SINKURL", "sqlite:///x", "did you mean JOINBACK_SINK_URL"),
        ("JOINBACK_CONFG", "x", "did you mean JOINBACK_CONFIG"),
        ("JOINBACK_INTERVAL_S", "five", "JOINBACK_INTERVAL_S='five' must be a whole number of seconds, such as 300"),
        ("JOINBACK_INTERVAL_S", "0", "JOINBACK_INTERVAL_S='0' must be a whole number of seconds"),
        ("JOINBACK_INTERVAL_S", "1.5", "JOINBACK_INTERVAL_S='1.5' must be a whole number of seconds"),
        ("JOINBACK_BUFFER_TTL_S", "-1", "JOINBACK_BUFFER_TTL_S='-1' must be a whole number of seconds"),
        ("JOINBACK_EMIT", "some", "JOINBACK_EMIT='some' must be one of all, joined"),
        (
            "JOINBACK_REDUCERS",
            "{}",
            "JOINBACK_REDUCERS has no effect any more: say it in the file that JOINBACK_CONFIG",
        ),
        ("JOINBACK_MATURITY_S", '{"a": 1}', "applications.<name>.maturity_s, and unset the variable"),
        ("JOINBACK_REDIS_URL", "localhost:6379", "JOINBACK_REDIS_URL is not a Redis URL; write redis://"),
        ("JOINBACK_REDIS_URL", "http://localhost", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://:hunter2@host:port/0", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://:hunter2@host:99999/0", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://host/zero", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://[::1", "not a Redis URL"),
        ("JOINBACK_REDIS_URL", "redis://host?socket_timeout=-1", "has a wrong socket_timeout: write seconds, over 0"),
        ("JOINBACK_REDIS_URL", "redis://host?socket_timeout=0", "has a wrong socket_timeout: write seconds, over 0"),
        ("JOINBACK_REDIS_URL", "redis://host?socket_timeout=nan", "has a wrong socket_timeout: write seconds, over 0"),
        ("JOINBACK_REDIS_URL", "redis://host?socket_timeout=inf", "has a wrong socket_timeout: write seconds, over 0"),
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
    """Whatever stands in a variable, it is a setting or a ConfigurationError; the client is never ended by one."""
    with contextlib.suppress(ConfigurationError):
        settings_from({f"JOINBACK_{field.upper()}": value})
    client_settings({f"JOINBACK_{field.upper()}": value})


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_an_empty_variable_is_not_set(field: str) -> None:
    """Compose files write JOINBACK_X= for what is not given; so does a blank."""
    for empty in ("", " "):
        environ = {f"JOINBACK_{field.upper()}": empty, "JOINBACK_NONSENSE": empty}
        assert settings_from(environ) == Settings()
        assert client_settings(environ) == (Settings(), [])


def test_the_variables_of_kubernetes_and_docker_are_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    """A Service whose name begins with ours is no setting of ours, for either side, and needs no word."""
    assert settings_from(KUBERNETES) == Settings()
    assert client_settings(KUBERNETES) == (Settings(), [])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("JOINBACK_ENVIRONMNT", "production", "did you mean JOINBACK_ENVIRONMENT?"),
        # By hand, and not by Kubernetes, which writes tcp://…
        ("JOINBACK_REDIS_PORT", "6380", "did you mean JOINBACK_REDIS_URL?"),
        ("JOINBACK_METRICS_PORT", "9090", "docs/reference/settings.md has the list"),
    ],
)
def test_an_unknown_variable_is_told_and_ends_nothing(
    variable: str, value: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a newer release's, or the other side's: a line names it, and both sides go on."""
    settings, (line,) = client_settings({variable: value})
    assert settings == Settings()
    assert variable in line
    assert says in line
    assert settings_from({variable: value}) == Settings()
    assert says in caplog.text


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_a_newer_releases_variable_is_not_taken_for_a_typo(field: str) -> None:
    """Each variable was once a newer release's: none is so near to another that it would have stopped a worker."""
    others = [f"JOINBACK_{name.upper()}" for name in Settings.__struct_fields__ if name != field]
    assert _nearest(f"JOINBACK_{field.upper()}", others, _TYPO) is None


@pytest.mark.parametrize("value", ["0", "a week", "7d"])
def test_a_wrong_variable_of_the_client_is_told_and_the_default_is_used(value: str) -> None:
    """Logging for another time is better than logging nothing."""
    settings, (line,) = client_settings({"JOINBACK_BUFFER_TTL_S": value, "JOINBACK_ENVIRONMENT": "staging"})
    assert settings == Settings(environment="staging")
    assert "JOINBACK_BUFFER_TTL_S" in line
    assert "the default 604800 is used" in line


def test_the_redis_url_in_code_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed JOINBACK_REDIS_URL is no matter to who gives another in code, and told to who does not."""
    monkeypatch.setenv("JOINBACK_REDIS_URL", "localhost:6379")
    joinback.Client().init("redis://127.0.0.1:1/0")
    with pytest.raises(ConfigurationError, match="JOINBACK_REDIS_URL is not a Redis URL"):
        joinback.Client().init()


WRONG_ARGUMENTS: list[dict[str, Any]] = [
    {"redis_url": "localhost:6379"},
    {"redis_url": 6379},
    {"buffer_ttl_s": 0},
    {"buffer_ttl_s": "3600"},
    {"buffer_events_max": 0},
    {"buffer_bytes_max": 10},
    {"spool_bytes_max": 1},
    {"spool_dir": 17},
    {"environment": 17},
    {"sample_rates": 0.5},
    {"sample_rates": {"ads": "0.5"}},
    {"before_send": "drop"},
    {"redact": "inputs.ssn"},
]


@pytest.mark.parametrize("wrong", WRONG_ARGUMENTS, ids=str)
def test_a_wrong_argument_of_init_raises(wrong: dict[str, Any]) -> None:
    """What stands in code is told where it stands, by name, and never as another kind of error."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).replace("sample_rates", "sample.rate")):
        joinback.Client().init(**({"redis_url": "redis://127.0.0.1:1/0"} | wrong))


def test_a_spool_that_cannot_be_made_leaves_logging_on(
    settings: Settings, server: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that cannot be is told at init, and the events go to Redis all the same."""
    (tmp_path / "file").write_text("")
    for spool_dir in (tmp_path / "file", tmp_path / "file" / "below", f"{tmp_path}/nul\0"):
        caplog.clear()
        client = joinback.Client().init(settings.redis_url, spool_dir=spool_dir)
        client.log_record("loans", inputs=1, outputs=2)
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == 1
        assert "cannot be made" in caplog.text
        assert "logging goes on without a spool" in caplog.text
        client.close()


SERVICE = """
import joinback
for n in range(5):
    joinback.log_record("loans", inputs={"n": n}, outputs=n, join_key=f"loan_{n}")
assert joinback.flush(600)
print(joinback.stats())
"""

POISON = KUBERNETES | {
    "JOINBACK_METRICS_PORT": "9090",
    "JOINBACK_REDUCERS": '{"loans": {"clicks": "average"}}',
    "JOINBACK_MATURITY_S": "soon",
    "JOINBACK_DEFAULT_FEEDBACK": "",
    "JOINBACK_SINK_URL": "nonsense",
    "JOINBACK_SAMPLE_RATES": "1 %",
    "JOINBACK_CONFIG": "/no/such/joinback.toml",
    "JOINBACK_BUFFER_TTL_S": "a week",
    "JOINBACK_SPOOL_DIR": "/proc/no/such/place",
    "JOINBACK_OF_TOMORROW": "1",
}


def test_a_service_in_a_poisoned_environment_logs_on(settings: Settings, server: redis.Redis, tmp_path: Path) -> None:
    """A process in a pod with a Service named joinback-redis and a shared ConfigMap of errors: 5 of 5 events arrive.

    Whatever of it is the client's own is told, once, and nothing else is.
    """
    done = subprocess.run(
        [sys.executable, "-c", SERVICE],
        env=process_environment(settings) | POISON,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert sum(bool(server.exists(wire.record_key("loans", f"loan_{n}"))) for n in range(5)) == 5
    told = ("METRICS_PORT", "SAMPLE_RATES", "JOINBACK_CONFIG: '/no/such", "BUFFER_TTL_S", "spool_dir", "OF_TOMORROW")
    lines = done.stderr.splitlines()
    assert len(lines) == len(told), lines
    for name in told:
        assert name in done.stderr


@pytest.mark.parametrize("start", ["joinback_worker worker", "arq joinback_worker.main.WorkerSettings"])
def test_a_worker_in_a_pod_drains(
    start: str, client: joinback.Client, settings: Settings, server: redis.Redis, cli: Cli, spawn: Any
) -> None:
    """Kubernetes' variables, a newer release's, and what only a client reads, stop no worker and no command."""
    foreign = KUBERNETES | {"JOINBACK_OF_TOMORROW": "1", "JOINBACK_SAMPLE_RATES": "1 %", "JOINBACK_ENVIRONMNT": "x"}
    client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    assert client.flush(PATIENCE_S)
    spawn("-m", *start.split(), JOINBACK_INTERVAL_S="1", **foreign)
    wait_for(lambda: cli("explain", "loans", "loan_17", "--json", **foreign).stdout.find('"row": {') > 0)
    done = cli("drain", **foreign)
    assert done.returncode == 0, done.stderr
    assert "JOINBACK_OF_TOMORROW is not a variable of this release" in done.stderr
    refused = cli("drain", JOINBACK_INTERVALL_S="60")
    assert (refused.returncode, refused.stderr) == (
        2,
        "joinback: JOINBACK_INTERVALL_S is not a variable of Joinback; did you mean JOINBACK_INTERVAL_S?\n",
    )


def test_unknown_variables_are_told_once(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with each event."""
    monkeypatch.setenv("JOINBACK_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("JOINBACK_OF_TOMORROW", "1")
    client = joinback.Client()
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            client.log_record("loans", inputs=1, outputs=2)
    assert caplog.text.count("JOINBACK_OF_TOMORROW") == 1
    client.close()


def test_settings_do_not_show_passwords() -> None:
    """A Settings in a log line or a traceback keeps the URLs to itself."""
    assert "hunter2" not in repr(Settings(redis_url="redis://:hunter2@h/0", sink_url="postgresql://u:hunter2@h/d"))
