"""A time as text: UTC, ISO 8601, always with microseconds, so that the texts sort like the times."""

from datetime import UTC, datetime

import msgspec

from joinback.errors import JoinbackError


def text_of(time: datetime) -> str:
    """Return the time as text, such as `2026-11-23T11:00:00.000000Z`. Whatever its zone, the text is in UTC."""
    if time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    # msgspec does this in C, but leaves out a fraction of zero.
    text: str = msgspec.to_builtins(time)
    return text if time.microsecond else f"{text[:-1]}.000000Z"


def typed(text: str) -> datetime:
    """Return the time that a person typed, in UTC: `2026-11-23`, `2026-11-23T11:00`. Without a zone it is UTC.

    Raises JoinbackError for any other text.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise JoinbackError(f"{text!r} is not a time; write it like 2026-11-23T11:00:00Z or 2026-11-23") from None
