"""A report with its pictures, for the page of an application and for the file to mail."""

from collections.abc import Mapping

from msgspec import Struct

from joinback.errors import ConfigurationError
from joinback_worker.answers.accuracy import Day
from joinback_worker.answers.answer import Report
from joinback_worker.answers.curve import Curve
from joinback_worker.answers.headline import headline, value_name
from joinback_worker.answers.versions import by_name, order, said
from joinback_worker.answers.versions import shown as name_of

from .pictures.calibration import CalibrationPicture, calibration_picture
from .pictures.curve import CurvePicture, curve_picture
from .pictures.days import DaysPicture, days_picture
from .pictures.versions import DifferencePicture, difference_picture

DAYS_SHOWN = 30
"""Days that the table shows. The picture shows all days."""


class Drawn(Struct, frozen=True):
    curve: Curve
    picture: CurvePicture | None


class Shown(Struct, frozen=True, kw_only=True):
    """A report as a template takes it."""

    report: Report
    headline: list[str]
    value_name: str
    version: str | None
    """The name of the version whose days are shown; None: all versions together."""
    versions: dict[str, str]
    """The names of versions, and how a page shows them."""
    days: list[Day]
    """The newest first."""
    days_all: int
    days_picture: DaysPicture | None
    curves: list[Drawn]
    """The curve of the compared field comes first."""
    calibration: CalibrationPicture | None
    difference: DifferencePicture | None
    truth: Mapping[str, float]


def shown(
    report: Report,
    *,
    version: str | None = None,
    days_max: int | None = DAYS_SHOWN,
    truth: Mapping[str, float] | None = None,
) -> Shown:
    """Return the report with its pictures. Raises ConfigurationError for a version without a day."""
    versions = sorted({day.version for day in report.days}, key=order)
    days = report.together
    if version is not None:
        names = by_name(versions)
        if version not in names:
            raise ConfigurationError(f"no version {version!r}; known are {', '.join(map(name_of, versions)) or 'none'}")
        days = [day for day in report.days if day.version == names[version]]
        version = name_of(names[version])
    name = value_name(report)
    # The truth is known over all versions, not for a single one.
    known = truth if truth and version is None else {}
    return Shown(
        report=report,
        headline=headline(report),
        value_name=name,
        version=version,
        versions={name_of(one): said(one) for one in versions},
        days=days[::-1][:days_max],
        days_all=len(days),
        days_picture=days_picture(days, is_share=name == "accuracy", truth=known) if days else None,
        curves=_drawn(report),
        calibration=calibration_picture(report.scores) if report.scores else None,
        difference=difference_picture(report.comparison),
        truth=known,
    )


def _drawn(report: Report) -> list[Drawn]:
    field = report.pair.field if report.pair else None
    in_order = sorted(report.curves, key=lambda curve: curve.field != field)
    return [Drawn(curve, curve_picture(curve)) for curve in in_order]
