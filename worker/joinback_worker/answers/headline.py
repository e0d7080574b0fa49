"""What a report comes to, in sentences that do not flatter. Pure."""

from .accuracy import Day
from .curve import duration
from .report import Report

ALIKE = 0.005
"""Less apart, two figures are told as alike."""


def value_name(report: Report) -> str:
    """Return what is told of labels: the share of right ones, or how far off a number is."""
    return "mean absolute error" if report.pair is not None and report.pair.kind == "numbers" else "accuracy"


def headline(report: Report) -> list[str]:
    """Return the sentences: what holds at the one age, and what the younger days only seem to say."""
    if report.pair is None:
        return []
    age = duration(report.age_s)
    said = []
    if report.ripe is not None and report.ripe.at_age is not None:
        said.append(_ripe(report.ripe, value_name(report), age))
    if report.unripe is not None and report.unripe.so_far is not None:
        said.append(_unripe(report.unripe, report.ripe, value_name(report), age))
    return said


def _ripe(days: Day, name: str, age: str) -> str:
    said = f"Of the labels that came within {age}, {name} is {figure(days.at_age)}"
    if days.at_age_coverage is None:
        return f"{said}; how many are missing is not known."
    said += f". They are {days.at_age_coverage * 100:.0f} % of {days.predictions:,} predictions that are so old"
    return f"{said}{_bounded(days, '; when all have come, it')}."


def _unripe(young: Day, ripe: Day | None, name: str, age: str) -> str:
    said = f"Of predictions younger than {age}, the labels that came say {figure(young.so_far)}"
    if ripe is not None and ripe.at_age is not None and young.so_far is not None:
        apart = young.so_far - ripe.at_age
        better = apart > 0 if name == "accuracy" else apart < 0
        looks = "about the same" if abs(apart) < ALIKE else f"which looks {'better' if better else 'worse'}"
        said += f", {looks}"
    if young.coverage is None:
        return f"{said}; how many are still to come is not known."
    return f"{said}; but only {young.coverage * 100:.0f} % have come{_bounded(young, ', and the whole')}."


def _bounded(days: Day, what: str) -> str:
    if days.at_least is None or days.at_most is None:
        return ""
    return f"{what} will be between {figure(days.at_least)} and {figure(days.at_most)}"


def figure(value: float | None, digits: int = 3) -> str:
    """Return a figure as it is shown; nothing for what cannot be told."""
    return "" if value is None else f"{value:.{digits}f}" if abs(value) < 1_000 else f"{value:.4g}"
