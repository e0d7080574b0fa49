"""The worker on arq, and the only file that imports it.

arq is the clock, and Redis's consumer group is the queue: there is no second queue of jobs. arq's cron starts
a tick in this same process, and nothing that arq does needs Redis. So whatever state Redis is in (full, hung,
away, edited by somebody), the worker goes on and ticks come.

`joinback worker` and `arq joinback_worker.main.WorkerSettings` run the same.
"""

import gc
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import structlog
from arq import Worker, cron
from arq.connections import RedisSettings
from arq.cron import CronJob
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback.credentials import Credentials
from joinback.errors import ConfigurationError
from joinback.redis_url import RedisUrl, redis_url
from joinback.settings import Settings, settings_from
from joinback.urls import shown_url

from .connection.connect import open_redis
from .connection.login import Login, credentials_of
from .connection.scripts import Script
from .drain.drainer import Drainer
from .drain.tick import Ticker
from .logs import Quiet, configure_logging
from .notes.heartbeat import TTL_S, VERSION, Beat, digest_of

log = structlog.get_logger("joinback")
_arq_sign = Script("arq_sign.lua")
# Our own line `worker_started` logs what arq logs at its start. Only the answer of `arq --check` gets through.
logging.getLogger("arq.worker").addFilter(Quiet("async_check_health"))


@dataclass
class IntervalCron(CronJob):
    """A cron job that is due when the ticker is. arq's own cron uses the wall clock, which may be set back."""

    ticker: Ticker | None = None

    @property  # type: ignore[misc]
    def next_run(self) -> datetime:
        """Return the time of the next tick by the wall clock, because arq compares it with that clock."""
        assert self.ticker is not None
        return datetime.now(UTC) + timedelta(seconds=self.ticker.due_in_s)

    @next_run.setter
    def next_run(self, _: datetime | None) -> None:
        """Do nothing: the ticker decides."""

    def calculate_next(self, prev_run: datetime) -> None:
        """Do nothing: `Ticker.tick` has set the next time already."""


class Clock:
    """Takes the place of arq's pool of connections, and turns arq's calls into ticks.

    arq's worker makes no other calls than these while its queue is empty, and it is always empty.
    """

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker

    async def enqueue_job(self, *_: Any, **__: Any) -> None:
        """Start the tick that arq's cron asks for, in this process."""
        self._ticker.tick()

    async def zrangebyscore(self, *_: Any, **__: Any) -> list[bytes]:
        """Return the jobs that wait: always none."""
        return []

    async def zcard(self, *_: Any) -> int:
        """Return 1 while a tick drains, else 0; `arq --burst` ends at 0."""
        return int(self._ticker.is_draining)

    async def psetex(self, *_: Any) -> None:
        """Do nothing: the heartbeat writes the key for `arq --check`, and does not depend on the wall clock."""

    async def delete(self, *_: Any) -> None:
        """Do nothing: the key for `arq --check` may be another process's by now, so its TTL ends it."""

    async def close(self, **_: Any) -> None:
        """Do nothing: the ticker closes what it opened."""

    def pipeline(self, **_: Any) -> "_NoInfo":
        return _NoInfo()


class _NoInfo:
    """Answers what arq asks Redis at its start, for a log line that `Quiet` hides."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None: ...

    def info(self, **_: Any) -> None: ...

    def dbsize(self) -> None: ...

    async def execute(self) -> list[Any]:
        return [{}, {}, {}, 0]


def worker_arguments(settings: Settings, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return the arguments of arq's Worker. `only`: the applications to drain; empty: all.

    Raises ConfigurationError for a wrong setting: a URL, the rules' file, or a sink that cannot do what is set.
    """
    drainer = Drainer(settings, only)
    sign = Beat(
        host=socket.gethostname(),
        pid=os.getpid(),
        version=VERSION,
        sink=drainer.sink,
        settings=digest_of(settings),
        applications=list(only),
        interval_s=settings.interval_s,
        wire_version=wire.WIRE_VERSION,
    )
    arq_url = _arq_url(settings)
    arq_key = f"arq:joinback:health:{sign.host}"
    login = _arq_login(settings, arq_url)
    # Use the drainer's connections where they lead to the same server: each new one may ask for a token.
    own = None if settings.queue_url is not None else drainer.redis
    ticker = Ticker(drainer, sign, also=lambda: sign_for_arq(arq_url, arq_key, own, login))

    async def start(_: dict[str, Any]) -> None:
        # Only here, not at import: arq's command line sets up its own handler before, and each line would come twice.
        logging.getLogger("arq").handlers.clear()
        configure_logging(as_json=settings.log_format == "json")
        log.info(
            "worker_started",
            version=sign.version,
            redis=shown_url(settings.redis_url),
            sink=sign.sink,
            interval_s=settings.interval_s,
            applications=",".join(only) or "all",
            settings=sign.settings,
            worker=sign.name,
            next_drain="now",
        )
        if arq_url is None:
            log.info(
                "arq_check_is_off",
                why="arq can use one server only, and the buffer is a cluster",
                fix="set JOINBACK_QUEUE_URL to any Redis of one server, or probe with joinback worker --check",
            )
        # Imported modules stay until the end, so the cycle collector need not walk them during a drain.
        gc.freeze()
        ticker.start()

    async def stop(_: dict[str, Any]) -> None:
        await ticker.stop()
        log.info("worker_stopped", worker=sign.name)

    async def tick(_: dict[str, Any]) -> None: ...

    job = cron(tick, name="joinback.tick")  # type: ignore[arg-type]  # arq wants a context of its own type
    every = {field.name: getattr(job, field.name) for field in fields(CronJob)}
    return {
        "cron_jobs": [IntervalCron(**every, ticker=ticker)],
        "on_startup": start,
        "on_shutdown": stop,
        "redis_pool": Clock(ticker),
        # Only `arq --check` reads these: it looks for this key on this server.
        "redis_settings": redis_settings_of(arq_url, login),
        "health_check_key": arq_key,
        "timezone": UTC,
    }


def _arq_url(settings: Settings) -> RedisUrl | None:
    """Return the server that holds the key for `arq --check`. None: the buffer is a cluster, and no other is named.

    Raises ConfigurationError if JOINBACK_QUEUE_URL names a cluster: arq cannot use one.
    """
    if settings.queue_url is not None:
        url = redis_url(settings.queue_url, "JOINBACK_QUEUE_URL")
        if url.kind == "cluster":
            raise ConfigurationError("JOINBACK_QUEUE_URL names a cluster, and arq can use one server only; name one")
        return url
    url = redis_url(settings.redis_url, "JOINBACK_REDIS_URL")
    return None if url.kind == "cluster" else url


def _arq_login(settings: Settings, arq_url: RedisUrl | None) -> Credentials | None:
    """Return the buffer's credentials if the key for `arq --check` is on the same servers, else None.

    None: the login is in the URL.
    """
    buffer = redis_url(settings.redis_url, "JOINBACK_REDIS_URL")
    is_same = arq_url is not None and (arq_url.nodes, arq_url.path) == (buffer.nodes, buffer.path)
    return credentials_of(settings) if is_same else None


async def sign_for_arq(url: RedisUrl | None, key: str, own: Redis | None, login: Credentials | None) -> None:
    """Write the key that `arq --check` looks for, with the TTL of our own sign of life.

    `own` is an open connection to that server; None: open one. Errors of Redis are ignored: the next beat tries again.
    """
    if url is None:
        return
    redis = own or open_redis(url, login)
    with suppress(RedisError, OSError):
        await _arq_sign(redis, [key], ["alive; see joinback worker --check", int(TTL_S)])
    if own is None:
        await redis.aclose()


class AskedSettings(RedisSettings):
    """arq's settings of a Redis, with a login that is asked for when arq connects.

    Only `arq --check` connects with them, never a worker.
    """

    login: Credentials

    @property
    def username(self) -> str | None:
        *user, _ = Login(self.login).get_credentials()
        return user[0] if user else None

    @username.setter
    def username(self, _: str | None) -> None: ...

    @property
    def password(self) -> str | None:
        return Login(self.login).get_credentials()[-1]

    @password.setter
    def password(self, _: str | None) -> None: ...


def redis_settings_of(url: RedisUrl | None, login: Credentials | None = None) -> RedisSettings:
    """Return arq's settings for this URL. arq's own reading of a URL would leave %-codes as they are."""
    if url is None:
        return RedisSettings(conn_retries=0)
    host: Any = list(url.nodes) if url.kind == "sentinel" else url.nodes[0][0] if url.nodes else "localhost"
    names = ("ssl_keyfile", "ssl_certfile", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data", "ssl_check_hostname")
    tls: dict[str, Any] = url.tls or {}
    settings = (RedisSettings if login is None else AskedSettings)(
        host=host,
        port=url.nodes[0][1] if url.nodes else 6379,
        sentinel=url.kind == "sentinel",
        sentinel_master=url.service or "",
        unix_socket_path=url.path,
        database=url.database,
        username=url.username,
        password=url.password,
        ssl=url.tls is not None,
        conn_retries=0,
        **{name: tls[name] for name in names if name in tls},
    )
    if isinstance(settings, AskedSettings) and login is not None:
        settings.login = login
    return settings


def run(settings: Settings, only: Sequence[str] = ()) -> None:
    """Run the worker until SIGTERM or SIGINT. Raises ConfigurationError."""
    Worker(**worker_arguments(settings, only)).run()


def __getattr__(name: str) -> Any:
    """Return `WorkerSettings` for arq's command line: made when asked for, so that an import reads no environment."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    try:
        return type("WorkerSettings", (), worker_arguments(settings_from()))
    except ConfigurationError as error:
        # Like the `joinback` command: one line, exit code 2, no traceback.
        print(f"joinback: {error}", file=sys.stderr)
        raise SystemExit(2) from None
