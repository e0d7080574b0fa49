"""The difference of two versions and its interval, on an axis around 0. Pure."""

from msgspec import Struct

from joinback_worker.answers.compare import Comparison

from .frame import Frame


class DifferencePicture(Struct, frozen=True):
    frame: Frame
    zero: float
    low: float
    at: float
    high: float
    scale: str
    """The number at either end of the axis."""


def difference_picture(comparison: Comparison | None) -> DifferencePicture | None:
    """Return the picture; None where the two cannot be compared."""
    if comparison is None or comparison.difference is None or comparison.low is None or comparison.high is None:
        return None
    frame = Frame(width=420, height=72, left=16, top=10, bottom=28)
    reach = max(abs(comparison.low), abs(comparison.high)) * 1.25 or 1.0

    def x(value: float) -> float:
        return frame.x((value + reach) / (2 * reach))

    return DifferencePicture(
        frame, x(0.0), x(comparison.low), x(comparison.difference), x(comparison.high), f"{reach:.2g}"
    )
