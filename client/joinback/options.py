"""The checked options of one client: where its events go, what is done to them before, and how much room they take."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from . import events, log, wire
from .errors import ConfigurationError
from .settings import Settings, check_redis_url, client_settings

if TYPE_CHECKING:
    from .credentials import Credentials
    from .hooks import BeforeSend, Hooks
    from .redaction_rules import Rule

BUFFER_EVENTS_MAX = 100_000
"""Twenty seconds at 5,000 events per second: a Redis restart or a failover."""
BUFFER_BYTES_MAX = 64 << 20
"""What a service can spare: 100,000 events of the usual 600 bytes."""
SPOOL_BYTES_MAX = 1 << 30
"""An hour of 500 events per second of 600 bytes; a shared disk can spare as much."""
CLOSE_TIMEOUT_S = 2.0
"""An exit must not hang on a dead Redis: supervisors send SIGKILL after some ten seconds."""
SPOOL_BYTES_MIN = 32 << 20
"""Two segments: one being written, one being sent."""


class Options(Struct, frozen=True, kw_only=True):
    """Checked arguments of `Client.init`."""

    redis_url: str = ""
    redis: Any = None
    """A client of redis-py that the caller made, instead of the URL."""
    credentials: "Credentials | None" = None
    buffer_ttl_s: int = Settings().buffer_ttl_s
    buffer_events_max: int = BUFFER_EVENTS_MAX
    buffer_bytes_max: int = BUFFER_BYTES_MAX
    spool_dir: str | None = None
    spool_bytes_max: int = SPOOL_BYTES_MAX
    sample_rates: dict[str, float] = {}
    environment: str | None = None
    hooks: "Hooks | None" = None
    strict: bool = False

    def __repr__(self) -> str:
        """Leave out the URL, which may hold a password."""
        return f"Options(buffer_ttl_s={self.buffer_ttl_s}, spool_dir={self.spool_dir!r}, …)"


def options_of(
    *,
    redis_url: str | None = None,
    environment: str | None = None,
    buffer_ttl_s: int | None = None,
    sample_rates: Mapping[str, float] | None = None,
    redact: "Iterable[str | Rule]" = (),
    before_send: "BeforeSend | None" = None,
    strict: bool = False,
    buffer_events_max: int = BUFFER_EVENTS_MAX,
    buffer_bytes_max: int = BUFFER_BYTES_MAX,
    spool_dir: str | os.PathLike[str] | None = None,
    spool_bytes_max: int = SPOOL_BYTES_MAX,
    redis: Any = None,
    credentials: "Credentials | None" = None,
) -> Options:
    """Return the options from the arguments of `Client.init`, and from the environment where they are not given.

    Makes the spool's directory, and logs what is wrong in the environment. Raises ConfigurationError.
    """
    settings, lines = client_settings()
    url, name = (settings.redis_url, "JOINBACK_REDIS_URL") if redis_url is None else (redis_url, "redis_url")
    if redis is None:
        check_redis_url(url, name)
    elif redis_url is not None:
        raise ConfigurationError("redis and redis_url both name a Redis; give one of them")
    credentials = _credentials_of(settings, redis, credentials)
    _check_number("buffer_ttl_s", settings.buffer_ttl_s if buffer_ttl_s is None else buffer_ttl_s, 1, 31_536_000)
    _check_number("buffer_events_max", buffer_events_max, 1)
    # A smaller buffer could not hold the largest event.
    _check_number("buffer_bytes_max", buffer_bytes_max, wire.EVENT_BYTES_MAX)
    _check_number("spool_bytes_max", spool_bytes_max, SPOOL_BYTES_MIN)
    spool_dir = _made(settings.spool_dir if spool_dir is None else spool_dir)
    if not isinstance(environment, str | None):
        raise ConfigurationError(f"environment must be text, not {type(environment).__name__}")
    rates = _rates_of(settings, sample_rates, lines)
    for line in lines:
        log.warning("joinback: %s", line)
    return Options(
        redis_url=url,
        redis=redis,
        credentials=credentials,
        buffer_ttl_s=buffer_ttl_s or settings.buffer_ttl_s,
        buffer_events_max=buffer_events_max,
        buffer_bytes_max=buffer_bytes_max,
        spool_dir=spool_dir,
        spool_bytes_max=spool_bytes_max,
        sample_rates=rates,
        environment=events.text_of(environment or settings.environment),
        hooks=_hooks_of(redact, before_send),
        strict=strict,
    )


def _credentials_of(settings: Settings, redis: Any, given: "Credentials | None") -> "Credentials | None":
    """Return the callable that was given, else the setting's; the setting is not for a client that the caller made."""
    if given is None:
        if redis is not None or settings.redis_credentials is None:
            return None
        from .credentials import credentials_at  # most services have a password in the URL, or none

        return credentials_at(settings.redis_credentials, "JOINBACK_REDIS_CREDENTIALS")
    if not callable(given):
        raise ConfigurationError("credentials must be callable: each login calls it for (user, password)")
    from .credentials import COROUTINE_FUNCTION, is_coroutine_function

    if is_coroutine_function(given):
        raise ConfigurationError(f"credentials {COROUTINE_FUNCTION}")
    return given


def _hooks_of(redact: "Iterable[str | Rule]", before_send: "BeforeSend | None") -> "Hooks | None":
    if not redact and before_send is None:
        return None
    from .hooks import Hooks  # most services need none

    return Hooks(redact, before_send)


def _check_number(name: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"from {low} to {high}" if high is not None else f"of {low} at least"
        raise ConfigurationError(f"{name} must be an integer {limits}, not {value!r}")


def _made(spool_dir: str | os.PathLike[str] | None) -> str | None:
    """Make the spool's directory and return it. None without one, or if that fails: logging matters more."""
    if not spool_dir:
        return None
    try:
        path = os.fsdecode(os.fspath(spool_dir))
    except TypeError:
        raise ConfigurationError(f"spool_dir must be a path, not {type(spool_dir).__name__}") from None
    try:
        # Events may be private.
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        trouble = "" if os.access(path, os.W_OK | os.X_OK) else "is not writable; give this user the right"
    except (OSError, ValueError) as error:
        trouble = f"cannot be made: {getattr(error, 'strerror', None) or error}"
    if not trouble:
        return path
    log.warning("joinback: spool_dir %r %s; logging goes on without a spool", path, trouble)
    return None


def _rates_of(settings: Settings, given: Mapping[str, float] | None, lines: list[str]) -> dict[str, float]:
    """Return the rates given to `Client.init`, else those in the file of JOINBACK_CONFIG.

    Raises ConfigurationError for wrong rates that were given. Adds to `lines` what is wrong in the file, to be logged.
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
    """Return the sample rates by application, as events carry them. Raises ConfigurationError."""
    if not isinstance(rates, Mapping):
        raise ConfigurationError('sample_rates must be a dict by application, such as {"ads": 0.01}')
    for application, rate in rates.items():
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ConfigurationError(f"the sample rate of {application!r} must be over 0 and at most 1")
    return {application: wire.sample_rate_of(float(rate)) for application, rate in rates.items()}
