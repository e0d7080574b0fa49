"""The small curve of a row: events in each step of time. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from .frame import Frame, lines


class Sparkline(Struct, frozen=True):
    frame: Frame
    line: str


def sparkline(values: Sequence[float | None]) -> Sparkline | None:
    """Return the picture, with its top at the largest value; None for fewer than two values."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    frame = Frame(width=120, height=26, left=2, right=2, top=3, bottom=3)
    top = max(known) or 1.0
    spots = [
        None if value is None else (frame.x(place / (len(values) - 1)), frame.y(value / top))
        for place, value in enumerate(values)
    ]
    return Sparkline(frame, lines(spots))
