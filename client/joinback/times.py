"""Event times as callers give them, and the clocks behind them. A time or clock that is surely wrong is logged once."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from . import log
from .drops import NotLogged

CLOCK_OFFSET_S = 300.0
"""The worker's own tolerance of clocks: a smaller difference does not show on a row."""
_NEAR_S = 300.0
"""A time this near to now is the time of the call. No zone but UTC is so near to UTC."""
_has_warned_of_local = False


def utc(timestamp: object) -> datetime:
    """Return a caller's event time in UTC: a datetime or ISO 8601 text, in UTC if it has no zone. Raises NotLogged."""
    if isinstance(timestamp, str):
        timestamp = _from_text(str.__str__(timestamp).strip())
    if not isinstance(timestamp, datetime):
        fix = "for Unix seconds write datetime.fromtimestamp(seconds, UTC)"
        kind = type(timestamp).__name__
        raise NotLogged("invalid", f"timestamp must be a datetime or ISO 8601 text, not {kind}; {fix}")
    try:
        if timestamp.tzinfo is None:
            if not _has_warned_of_local:
                _warn_of_local(timestamp)
            aware = timestamp.replace(tzinfo=UTC)
        else:
            aware = timestamp.astimezone(UTC)
        # A subclass may have nanoseconds (pandas.Timestamp), or be no time at all (pandas.NaT).
        return aware if type(aware) is datetime else datetime.fromisoformat(aware.isoformat())
    # Anything: the zone may be a class of the caller's.
    except Exception:
        raise NotLogged("invalid", "timestamp must be a time in the years 1 to 9999") from None


def _from_text(text: str) -> datetime:
    # Only with the mark of a date: "1612120112345" would be read as the year 1612.
    if text[4:5] == "-" or text[8:9] == "T":
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise NotLogged("invalid", "timestamp must be a datetime or ISO 8601 text, such as 2026-11-23T11:00:00Z")


def _warn_of_local(naive: datetime) -> None:
    """Warn, once per process, if this time without a zone looks like datetime.now(): that is local time, not UTC."""
    global _has_warned_of_local
    offset_s = time.localtime().tm_gmtoff
    if abs(offset_s) <= _NEAR_S:
        return
    local = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=offset_s)
    if abs((naive.replace(tzinfo=None) - local).total_seconds()) < _NEAR_S:
        _has_warned_of_local = True
        log.warning(
            "joinback: a timestamp without a time zone looks like this machine's local time, but is taken as UTC,"
            f" so it is {offset_s / 3600:+g} hours off; write datetime.now(UTC), or leave `timestamp` out"
        )


class ClockWatch:
    """Compares this machine's clock with that of Redis, and logs a large difference once."""

    def __init__(self) -> None:
        self._has_warned = False

    def compare(self, reply: Any) -> None:
        """Compare with an answer to TIME that just came: [seconds, microseconds] as text. Ignores anything else."""
        try:
            ahead_s = time.time() - int(reply[0])
        except (TypeError, ValueError, IndexError):
            return
        if abs(ahead_s) > CLOCK_OFFSET_S and not self._has_warned:
            self._has_warned = True
            side = "ahead of" if ahead_s > 0 else "behind"
            log.warning(
                f"joinback: this machine's clock is {abs(ahead_s):.0f} s {side} Redis's; set it right (NTP), because"
                " the times of events decide which feedback is the last, and which comes too late"
            )
