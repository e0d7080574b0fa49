"""How the values of one feedback field, from several events, become one. Pure.

Each event counts once, however often it was sent: the record holds it by its id. Values come in the order of
their events. Numbers are JSON numbers, and true and false count as 1 and 0. `sum`, `mean`, `min` and `max` leave out
what is not a number; without any number they are null.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

Reducer = Literal["last", "first", "sum", "mean", "min", "max", "count", "majority"]
_NULL = Raw(b"null")


def reduce(reducer: Reducer, values: Sequence[Raw]) -> Any:
    """Return the one value, ready to be encoded as JSON: a number, None, or one of `values`, which is not empty."""
    return _REDUCERS[reducer](values)


def _numbers(values: Sequence[Raw]) -> list[int | float]:
    numbers: list[int | float] = []
    for value in values:
        try:
            number = msgspec.json.decode(value, type=bool | int | float) + 0
            float(number)
        except (ValueError, OverflowError):
            continue  # not a number, or a number beyond a double
        numbers.append(number)
    return numbers


def _sum(values: Sequence[Raw]) -> int | float | None:
    numbers = _numbers(values)
    if not numbers:
        return None
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    try:
        return math.fsum(numbers)
    except OverflowError:
        return None  # beyond a double, and JSON has no infinity


def _mean(values: Sequence[Raw]) -> float | None:
    total = _sum(values)
    if total is None:
        return None
    try:
        return total / len(_numbers(values))
    except OverflowError:
        return None  # the mean is beyond a double


def _majority(values: Sequence[Raw]) -> Raw:
    """Return the most frequent value; of several that are equally frequent, the one that came last."""
    counts = Counter(bytes(value) for value in values)
    most = max(counts.values())
    return next(value for value in reversed(values) if counts[bytes(value)] == most)


_REDUCERS: dict[Reducer, Callable[[Sequence[Raw]], Any]] = {
    "last": lambda values: values[-1],
    "first": lambda values: values[0],
    "sum": _sum,
    "mean": _mean,
    "min": lambda values: min(_numbers(values), default=None),
    "max": lambda values: max(_numbers(values), default=None),
    "count": lambda values: sum(value != _NULL for value in values),
    "majority": _majority,
}
