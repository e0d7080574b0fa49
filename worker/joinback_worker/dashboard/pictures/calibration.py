"""Calibration: the mean score against the share that came true, by version. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from joinback_worker.answers.scores import Scores
from joinback_worker.answers.versions import said

from .frame import Frame, Spot, Tick, line, quarters

SHOWN_MAX = 3
"""Versions per picture. More lines could not be distinguished by their dashes alone."""


class Calibrated(Struct, frozen=True):
    version: str
    line: str
    spots: list[Spot]


class CalibrationPicture(Struct, frozen=True):
    frame: Frame
    ideal: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    versions: list[Calibrated]


def calibration_picture(scores: Sequence[Scores]) -> CalibrationPicture:
    """Return the picture of the last SHOWN_MAX versions."""
    frame = Frame(width=420, height=340, bottom=36)
    found = []
    for one in scores[-SHOWN_MAX:]:
        spots = [(frame.x(bucket.mean_score), frame.y(bucket.share_positive)) for bucket in one.buckets]
        found.append(Calibrated(said(one.version), line(spots), spots))
    x_ticks = [Tick(frame.x(n / 4), f"{n / 4:g}", is_minor=n in (1, 3)) for n in range(5)]
    ideal = line([(frame.x(0), frame.y(0)), (frame.x(1), frame.y(1))])
    return CalibrationPicture(frame, ideal, x_ticks, quarters(frame), found)
