"""Event times as callers give them, and the clocks behind them: what is surely wrong is told once."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from . import log
from .drops import NotLogged

CLOCK_OFFSET_S = 300.0
"""As the fold's own tolerance of clocks: less does not show on a row."""
_NEAR_S = 300.0
"""A call's own time, and no zone is nearer to UTC than this."""
_has_told_of_local = False


def utc(timestamp: object) -> datetime:
    """Return a caller's event time, a datetime or ISO 8601 text; without a zone it is UTC. Raises NotLogged."""
    if isinstance(timestamp, str):
        timestamp = _from_text(str.__str__(timestamp).strip())
    if not isinstance(timestamp, datetime):
        fix = "of Unix seconds make datetime.fromtimestamp(seconds, UTC)"
        kind = type(timestamp).__name__
        raise NotLogged("invalid", f"timestamp must be a datetime or ISO 8601 text, not {kind}; {fix}")
    try:
        if timestamp.tzinfo is None:
            if not _has_told_of_local:
                _tell_of_local(timestamp)
            aware = timestamp.replace(tzinfo=UTC)
        else:
            aware = timestamp.astimezone(UTC)
        # A subclass, such as pandas.Timestamp, may know nanoseconds, or be no time at all.
        return aware if type(aware) is datetime else datetime.fromisoformat(aware.isoformat())
    # A zone may be of the caller's own making.
    except Exception:
        raise NotLogged("invalid", "timestamp must be a time in the years 1 to 9999") from None


def _from_text(text: str) -> datetime:
    # Without a mark of a date "1612120112345" would be the year 1612.
    if text[4:5] == "-" or text[8:9] == "T":
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise NotLogged("invalid", "timestamp must be a datetime or ISO 8601 text, such as 2026-11-23T11:00:00Z")


def _tell_of_local(naive: datetime) -> None:
    """Once per process: datetime.now() is the local time, which is told from UTC only where it differs."""
    global _has_told_of_local
    offset_s = time.localtime().tm_gmtoff
    if abs(offset_s) <= _NEAR_S:
        return
    local = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=offset_s)
    if abs((naive.replace(tzinfo=None) - local).total_seconds()) < _NEAR_S:
        _has_told_of_local = True
        log.warning(
            "joinback: a timestamp without a time zone looks like this machine's local time, but is taken as UTC,"
            f" so it is {offset_s / 3600:+g} hours off; write datetime.now(UTC), or leave `timestamp` out"
        )


class ClockWatch:
    """Compares this machine's clock with Redis's, and tells of a difference once."""

    def __init__(self) -> None:
        self._has_told = False

    def compare(self, reply: Any) -> None:
        """Look at Redis's answer to TIME, of just now: seconds and microseconds as text, or anything else."""
        try:
            ahead_s = time.time() - int(reply[0])
        except (TypeError, ValueError, IndexError):
            return
        if abs(ahead_s) > CLOCK_OFFSET_S and not self._has_told:
            self._has_told = True
            side = "ahead of" if ahead_s > 0 else "behind"
            log.warning(
                f"joinback: this machine's clock is {abs(ahead_s):.0f} s {side} Redis's; set it right (NTP), since the"
                " times of events decide which feedback is the last, and which comes too late"
            )
