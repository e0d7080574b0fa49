"""The columns of a row that say something, as the command and the page show them. Pure."""

from collections.abc import Iterator
from typing import Any

from msgspec import structs

from joinback_worker.flat.known import predicted_at
from joinback_worker.law.row import Row


def cells(row: Row) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each column that is not NULL.

    If no maturity is declared, `matures_at` only repeats the time of the prediction, so that the worker finds the row
    as soon as one is. A person would read a maturity into it, so it is left out.
    """
    for name, value in structs.asdict(row).items():
        if value is not None and not (name == "matures_at" and value == predicted_at(row)):
            yield name, value
