"""What every page is made from: settings, and of made-up data the truth. It never changes while a server runs."""

from collections.abc import Mapping

from msgspec import Struct

from joinback.settings import Settings


class Desk(Struct, frozen=True, kw_only=True):
    settings: Settings
    truth: Mapping[str, Mapping[str, float]] = {}
    """By application and day, the accuracy that all labels will say: known of made-up data alone."""
