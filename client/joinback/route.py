"""Where a client's events go, and how much memory and disk they may take on their way."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from . import log, wire
from .errors import ConfigurationError
from .redis_url import redis_url as read_url
from .settings import Settings, check_redis_url

if TYPE_CHECKING:
    from .credentials import Credentials
    from .transport import Transport

BUFFER_EVENTS_MAX = 100_000
"""Twenty seconds at 5,000 events per second: a Redis restart or a failover."""
BUFFER_BYTES_MAX = 64 << 20
"""What a service can spare; 100,000 events of the usual 600 bytes are as much."""
SPOOL_BYTES_MAX = 1 << 30
"""An hour of 500 events per second; a disk that a service shares has as much to spare."""
SPOOL_BYTES_MIN = 32 << 20
"""Two segments: one being written, one being sent."""


class Route(Struct, frozen=True, kw_only=True):
    """Checked settings of one delivery."""

    redis_url: str
    redis: Any = None
    """A client that the caller made, instead of the URL."""
    credentials: "Credentials | None" = None
    buffer_ttl_s: int
    buffer_events_max: int = BUFFER_EVENTS_MAX
    buffer_bytes_max: int = BUFFER_BYTES_MAX
    spool_dir: str | None = None
    spool_bytes_max: int = SPOOL_BYTES_MAX

    def __repr__(self) -> str:
        """Without the URL: it holds a password."""
        return f"Route(buffer_ttl_s={self.buffer_ttl_s}, spool_dir={self.spool_dir!r}, …)"

    def transport(self) -> "Transport":
        """Return the way to Redis, not yet connected. Raises ConfigurationError for a `redis` that is no client."""
        from .transport import transport_of  # brings redis-py, for which `import joinback` does not wait

        return transport_of(
            read_url(self.redis_url, "redis_url") if self.redis is None else self.redis, self.credentials
        )


def route_of(
    settings: Settings,
    redis_url: str | None,
    buffer_ttl_s: int | None,
    buffer_events_max: int,
    buffer_bytes_max: int,
    spool_dir: str | os.PathLike[str] | None,
    spool_bytes_max: int,
    redis: Any = None,
    credentials: "Credentials | None" = None,
) -> Route:
    """What `Client.init` was given, else what the environment says. Raises ConfigurationError; makes the spool."""
    url, name = (settings.redis_url, "JOINBACK_REDIS_URL") if redis_url is None else (redis_url, "redis_url")
    if redis is None:
        check_redis_url(url, name)
    elif redis_url is not None:
        raise ConfigurationError("redis and redis_url both say where to; give one of them")
    if credentials is None and redis is None and settings.redis_credentials is not None:
        from .credentials import credentials_at  # most services have a password in the URL, or none

        credentials = credentials_at(settings.redis_credentials, "JOINBACK_REDIS_CREDENTIALS")
    if credentials is not None and not callable(credentials):
        raise ConfigurationError("credentials must be callable: it is asked for (user, password) at each login")
    if credentials is not None:
        from .credentials import COROUTINE_FUNCTION, is_coroutine_function

        if is_coroutine_function(credentials):
            raise ConfigurationError(f"credentials {COROUTINE_FUNCTION}")
    _check_number("buffer_ttl_s", settings.buffer_ttl_s if buffer_ttl_s is None else buffer_ttl_s, 1, 31_536_000)
    _check_number("buffer_events_max", buffer_events_max, 1)
    # Less could not hold one event.
    _check_number("buffer_bytes_max", buffer_bytes_max, wire.EVENT_BYTES_MAX)
    _check_number("spool_bytes_max", spool_bytes_max, SPOOL_BYTES_MIN)
    route = Route(
        redis_url=url,
        redis=redis,
        credentials=credentials,
        buffer_ttl_s=buffer_ttl_s or settings.buffer_ttl_s,
        buffer_events_max=buffer_events_max,
        buffer_bytes_max=buffer_bytes_max,
        spool_dir=_made(settings.spool_dir if spool_dir is None else spool_dir),
        spool_bytes_max=spool_bytes_max,
    )
    # Now, and not in the sender's thread: a fork must not find it in the middle of importing redis-py.
    route.transport()
    return route


def _check_number(name: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"from {low} to {high}" if high is not None else f"of {low} at least"
        raise ConfigurationError(f"{name} must be an integer {limits}, not {value!r}")


def _made(spool_dir: str | os.PathLike[str] | None) -> str | None:
    """The spool's directory, made; None if there is to be none, or it cannot be: logging matters more."""
    if not spool_dir:
        return None
    try:
        path = os.fsdecode(os.fspath(spool_dir))
    except TypeError:
        raise ConfigurationError(f"spool_dir must be a path, not {type(spool_dir).__name__}") from None
    try:
        # What callers log may be private.
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        trouble = "" if os.access(path, os.W_OK | os.X_OK) else "is not writable; give this user the right"
    except (OSError, ValueError) as error:
        trouble = f"cannot be made: {getattr(error, 'strerror', None) or error}"
    if not trouble:
        return path
    log.warning("joinback: spool_dir %r %s; logging goes on without a spool", path, trouble)
    return None


def rates_of(settings: Settings, given: Mapping[str, float] | None, lines: list[str]) -> dict[str, float]:
    """Return what `Client.init` was given, else what the file of JOINBACK_CONFIG says.

    Raises ConfigurationError for what was given; what is wrong in the file is added to `lines`, to be told.
    """
    if given is not None:
        return checked_rates(given)
    if settings.config is None:
        return {}
    from .config_file import sample_rates_in  # it brings tomllib, which most services do not need

    rates, wrong = sample_rates_in(settings.config)
    lines += wrong
    return rates


def checked_rates(rates: Mapping[str, float]) -> dict[str, float]:
    """Return the sample rates by application. Raises ConfigurationError."""
    if not isinstance(rates, Mapping):
        raise ConfigurationError('sample_rates must be a dict by application, such as {"ads": 0.01}')
    for application, rate in rates.items():
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ConfigurationError(f"the sample rate of {application!r} must be over 0 and at most 1")
    return {application: wire.sample_rate_of(float(rate)) for application, rate in rates.items()}
