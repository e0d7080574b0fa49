"""Where a client's events go, and how much memory and disk they may take on their way."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from . import wire
from .errors import ConfigurationError
from .settings import Settings, check_redis_url

BUFFER_EVENTS_MAX = 100_000
"""Twenty seconds at 5,000 events a second: a Redis restart or a failover."""
BUFFER_BYTES_MAX = 64 << 20
"""What a service can spare; 100,000 events of the usual 600 bytes are as much."""
SPOOL_BYTES_MAX = 1 << 30
"""An hour of 500 events a second; a disk that a service shares has as much to spare."""
SPOOL_BYTES_MIN = 32 << 20
"""Two segments: one being written, one being sent."""


class Route(Struct, frozen=True, kw_only=True):
    """Checked settings of one delivery."""

    redis_url: str
    buffer_ttl_s: int
    buffer_events_max: int = BUFFER_EVENTS_MAX
    buffer_bytes_max: int = BUFFER_BYTES_MAX
    spool_dir: str | None = None
    spool_bytes_max: int = SPOOL_BYTES_MAX

    def __repr__(self) -> str:
        """Without the URL: it holds a password."""
        return f"Route(buffer_ttl_s={self.buffer_ttl_s}, spool_dir={self.spool_dir!r}, …)"


def route_of(
    settings: Settings,
    redis_url: str | None,
    buffer_ttl_s: int | None,
    buffer_events_max: int,
    buffer_bytes_max: int,
    spool_dir: str | os.PathLike[str] | None,
    spool_bytes_max: int,
) -> Route:
    """What `Client.init` was given, else what the environment says. Raises ConfigurationError; makes the spool."""
    if redis_url is not None:
        check_redis_url(redis_url, "redis_url")
    if buffer_ttl_s is not None and not 1 <= buffer_ttl_s <= 31_536_000:
        raise ConfigurationError("buffer_ttl_s must be between one second and one year")
    if buffer_events_max < 1 or buffer_bytes_max < wire.EVENT_BYTES_MAX:
        raise ConfigurationError(
            f"the buffer must hold an event and {wire.EVENT_BYTES_MAX} bytes at least; raise buffer_*_max"
        )
    if spool_bytes_max < SPOOL_BYTES_MIN:
        raise ConfigurationError(f"spool_bytes_max must be {SPOOL_BYTES_MIN} at least")
    if (redis_url or settings.redis_url).startswith("rediss:"):
        # Now, and not in the sender's thread: a fork must not find it in the middle of an import.
        import ssl  # noqa: F401
    spool = settings.spool_dir if spool_dir is None else os.fspath(spool_dir)
    if spool:
        try:
            # What callers log may be private.
            Path(spool).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"spool_dir {spool!r} cannot be made: {error.strerror}") from None
        if not os.access(spool, os.W_OK | os.X_OK):
            raise ConfigurationError(f"spool_dir {spool!r} is not writable; give this user the right")
    return Route(
        redis_url=redis_url or settings.redis_url,
        buffer_ttl_s=buffer_ttl_s or settings.buffer_ttl_s,
        buffer_events_max=buffer_events_max,
        buffer_bytes_max=buffer_bytes_max,
        spool_dir=spool or None,
        spool_bytes_max=spool_bytes_max,
    )


def checked_rates(rates: Mapping[str, float]) -> dict[str, float]:
    """Sample rates by application. Raises ConfigurationError."""
    for application, rate in rates.items():
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ConfigurationError(f"the sample rate of {application!r} must be over 0 and at most 1")
    return {application: wire.sample_rate_of(float(rate)) for application, rate in rates.items()}
