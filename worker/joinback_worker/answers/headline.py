"""The result of a report in sentences that do not mislead. Pure."""

from .accuracy import Day
from .answer import Report
from .curve import duration

ALIKE = 0.005
"""Two figures that differ by less count as the same."""


def value_name(report: Report) -> str:
    """Return the name of the figure: accuracy, or the mean absolute error of numbers."""
    return "mean absolute error" if report.pair is not None and report.pair.kind == "numbers" else "accuracy"


def headline(report: Report) -> list[str]:
    """Return the sentences: the figure at the one age, that of younger days with a warning, and the alarm."""
    age = duration(report.age_s)
    sentences = []
    if report.ripe is not None and report.ripe.at_age is not None:
        sentences.append(_ripe(report.ripe, value_name(report), age))
    if report.unripe is not None and report.unripe.so_far is not None:
        sentences.append(_unripe(report, report.unripe, value_name(report)))
    if report.slower is not None:
        sentences.append(report.slower.sentence)
    return sentences


def _ripe(days: Day, name: str, age: str) -> str:
    first = f"By the labels that came within {age}, {name} is {figure(days.at_age)}"
    if days.at_age_coverage is None:
        return f"{first}. How many labels are missing is not known."
    share = (
        f"{days.at_age_coverage * 100:.0f} % of the {days.predictions:,} predictions that are so old have such a label"
    )
    return f"{first}. {share}{_bounded(days, f'. When all labels have come, {name}')}."


def _unripe(report: Report, young: Day, name: str) -> str:
    ripe, since = report.ripe, min(day.day for day in report.days if not day.ripe)
    younger = f"some of which are younger than {duration(report.age_s)}"
    first = f"For predictions from {since} on, {younger}, the labels that came give {figure(young.so_far)}"
    if ripe is not None and ripe.at_age is not None and young.so_far is not None:
        apart = young.so_far - ripe.at_age
        better = apart > 0 if name == "accuracy" else apart < 0
        looks = (
            "about the same as for older ones"
            if abs(apart) < ALIKE
            else f"which looks {'better' if better else 'worse'}"
        )
        first += f", {looks}"
    if young.coverage is None:
        return f"{first}. How many labels are still to come is not known."
    share = f"But only {young.coverage * 100:.0f} % of these labels have come"
    return f"{first}. {share}{_bounded(young, f'. When all have come, {name}')}."


def _bounded(days: Day, what: str) -> str:
    if days.at_least is None or days.at_most is None:
        return ""
    return f"{what} will be between {figure(days.at_least)} and {figure(days.at_most)}"


def figure(value: float | None, digits: int = 3) -> str:
    """Return a figure as it is shown; an empty text if it is not known."""
    return "" if value is None else f"{value:.{digits}f}" if abs(value) < 1_000 else f"{value:.4g}"
