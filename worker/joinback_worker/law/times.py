"""A time as text: UTC, ISO 8601, always with microseconds, so that texts sort as the times do."""

from datetime import UTC, datetime

import msgspec

from joinback.errors import JoinbackError


def text_of(time: datetime) -> str:
    """Return such as `2026-11-23T11:00:00.000000Z`."""
    if time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    # In C, and without a fraction where it is zero.
    text: str = msgspec.to_builtins(time)
    return text if time.microsecond else f"{text[:-1]}.000000Z"


def typed(text: str) -> datetime:
    """Return the time that a person typed, in UTC: `2026-11-23`, `2026-11-23T11:00`; without a zone it is UTC.

    Raises JoinbackError.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise JoinbackError(f"{text!r} is no time; write such as 2026-11-23T11:00:00Z, or 2026-11-23") from None
