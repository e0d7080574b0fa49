"""Feedback without a prediction, grouped by which change of form of its key would match: tried, not supposed."""

from msgspec import Struct
from redis.asyncio import Redis

from joinback.settings import Settings

ORPHANS_TRIED = 200
"""Evenly drawn of all that were read; a habit of a sender shows in far fewer."""


class FormGroup(Struct, frozen=True, kw_only=True):
    """Orphans that one change of form would match."""

    how: str
    """Such as `with leading zeros, to 4 digits`; "" for those that no known change matches."""
    matches: int
    """Of the tried."""
    estimated: int
    """Of all orphans, by the share of the tried."""
    examples: list[tuple[str, str]] = []
    """A key as it came, and as it would match; the second is empty where none does."""
    sources: dict[str, int] = {}
    """Who sent them, by the events' `source`; "" where none was said."""


class Orphans(Struct, kw_only=True):
    """The orphans of one application."""

    application: str
    orphans: int = 0
    """Of the sink, and of the records in Redis that it does not have yet."""
    is_whole: bool = True
    """False: there are more than were read."""
    tried: int = 0
    groups: list[FormGroup] = []
    """The largest first, those without a match last."""
    sink: str = ""


async def orphans(redis: Redis, settings: Settings, application: str) -> Orphans:
    """Read the orphans of the sink and try which other forms of their keys have a prediction. Changes nothing.

    Raises what Redis raises, SinkUnavailable, and JoinbackError if the rows go to another sink.
    """
    raise NotImplementedError
