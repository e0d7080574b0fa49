"""The label curve: the share of predictions with a label by age, its band, and the number at risk. Pure."""

from msgspec import Struct

from joinback_worker.answers.curve import LADDER_S, SHARES, Curve, Point, duration

from .frame import Frame, Tick, band, line, quarters

TICKS_MAX = 6
SPAN_SHOWN = 200
"""The table begins at the longest age divided by this: shorter ages have no width in the picture."""
_STEPS_S = (
    *(1, 5, 10, 30),
    *(60 * n for n in (1, 2, 5, 10, 15, 30)),
    *(3_600 * n for n in (1, 2, 3, 6, 12)),
    *(86_400 * n for n in (1, 2, 5, 7, 10, 14, 30, 60, 90, 180, 365)),
)
"""Distances between two marks of the time axis: round ones for people."""


class Mark(Struct, frozen=True):
    """A marked age: a line from the axis up to the curve, with a text."""

    x: float
    y: float
    label: str
    is_left: bool
    """Whether its text is on the left, as there is no room on the right."""


class CurvePicture(Struct, frozen=True, kw_only=True):
    frame: Frame
    band: str
    line: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    rows: list[Point]
    """The rows of its table: the ages that people usually name, the declared maturity, and the last age."""


def curve_picture(curve: Curve) -> CurvePicture | None:
    """Return the picture; None for a curve without points."""
    if not curve.points:
        return None
    frame = Frame(left=92, bottom=50)
    end_s = curve.points[-1].age_s or 1.0
    return CurvePicture(
        frame=frame,
        band=band((frame.x(p.age_s / end_s), frame.y(p.low), frame.y(p.high)) for p in curve.points),
        line=line([(frame.x(p.age_s / end_s), frame.y(p.share)) for p in curve.points]),
        x_ticks=_ticks(frame, curve, end_s),
        y_ticks=quarters(frame),
        marks=_marks(frame, curve, end_s),
        rows=[p for p in curve.points if _is_in_table(p, curve, end_s)],
    )


def _ticks(frame: Frame, curve: Curve, end_s: float) -> list[Tick]:
    step_s = next((step for step in _STEPS_S if end_s / step <= TICKS_MAX), _STEPS_S[-1])
    ticks = []
    for n in range(int(end_s // step_s) + 1):
        at_risk = next((p.at_risk for p in reversed(curve.points) if p.age_s <= n * step_s), curve.rows)
        label = duration(n * step_s) if n else "0"
        ticks.append(Tick(frame.x(n * step_s / end_s), label, f"{at_risk:,}", is_minor=n % 2 == 1))
    return ticks


def _marks(frame: Frame, curve: Curve, end_s: float) -> list[Mark]:
    wanted = [
        (age_s, share, f"{name[1:]} %")
        for (name, age_s), share in zip(curve.ages_s.items(), SHARES, strict=False)
        if age_s is not None
    ]
    if curve.maturity_s is not None and curve.by_maturity is not None:
        wanted.append((float(curve.maturity_s), curve.by_maturity, f"your {duration(curve.maturity_s)}"))
    return [
        Mark(frame.x(age_s / end_s), frame.y(share), label, age_s > 0.85 * end_s)
        for age_s, share, label in wanted
        if age_s <= end_s
    ]


def _is_in_table(point: Point, curve: Curve, end_s: float) -> bool:
    if point.age_s < end_s / SPAN_SHOWN:
        return False
    return round(point.age_s) in (*LADDER_S, curve.maturity_s) or point is curve.points[-1]
