"""Numbers as people type them."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A finite number within a range. click's own range accepts nan, and inf if it has no upper bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
