"""What every page needs: the settings, and the truth about made-up data. It never changes while a server runs."""

from collections.abc import Mapping

from msgspec import Struct

from joinback.settings import Settings


class Desk(Struct, frozen=True, kw_only=True):
    settings: Settings
    truth: Mapping[str, Mapping[str, float]] = {}
    """By application and day: the accuracy that all labels will show. It is known only for made-up data."""
