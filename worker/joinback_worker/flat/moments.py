"""A moment as people write it. A day means its beginning. A time without a zone is UTC."""

from datetime import UTC, datetime

from joinback.errors import ConfigurationError


def moment_of(given: datetime | str, name: str) -> datetime:
    """Return the moment in UTC. Raises ConfigurationError, with this name, if it is not a moment."""
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(f"{name} {given!r} is not a time; write 2026-10-01 or 2026-10-01T12:00:00Z") from None
