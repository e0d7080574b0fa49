"""docs/reference/values.md does not lie: each example is logged as the JSON that stands beside it."""

import ast
import json
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from documents import ROOT

import joinback
from joinback.testing import capture

PAGE = ROOT / "docs" / "reference" / "values.md"
EXAMPLES = re.findall(r"^\| [^|]* \| `([^|]+)` \| `([^|]+)` \|$", PAGE.read_text(), re.MULTILINE)


@dataclass
class Loan:
    amount: int


class Grade(Enum):
    A = "a"


NAMES = {
    "Decimal": Decimal, "Grade": Grade, "Loan": Loan, "UUID": UUID,
    "date": date, "datetime": datetime, "timedelta": timedelta, "np": np, "pd": pd,
}  # fmt: skip


@pytest.mark.parametrize(("example", "as_json"), EXAMPLES, ids=[example for example, _ in EXAMPLES])
def test_an_example(example: str, as_json: str) -> None:
    """The value of the page comes out as the JSON of the page."""
    value: Any = eval(compile(ast.parse(example, mode="eval"), "<page>", "eval"), dict(NAMES))
    with capture() as events:
        joinback.log_record("values", inputs=value, outputs=1)
    (event,) = events
    assert event.inputs == json.loads(as_json)
    assert type(event.inputs) is type(json.loads(as_json))


def test_the_longest_int() -> None:
    """It has as many digits as the page says; one digit more is told as `unencodable`, with its path."""
    (found,) = re.findall(r"An int may have ([\d,]+) digits", PAGE.read_text())
    digits = int(found.replace(",", ""))
    with capture() as events:
        joinback.log_record("values", inputs={"x": 10 ** (digits - 1)}, outputs=1)
        with pytest.raises(joinback.InvalidEvent, match=rf"^inputs\.x\[0\]: an int of more than {digits:,} digits"):
            joinback.log_record("values", inputs={"x": [10**digits]}, outputs=1)
    assert len(events) == 1


def test_keys_that_become_one() -> None:
    """The JSON has the name twice, and Python's reader takes the last."""
    assert 'such as `1` and `"1"`' in PAGE.read_text()
    with capture() as events:
        joinback.log_record("values", inputs={1: "first", "1": "last"}, outputs=1)
    assert events[0].inputs == {"1": "last"}


def test_each_line_has_an_example() -> None:
    """No line of the first table goes without one."""
    table = PAGE.read_text().partition("| --- |")[2].partition("\n\n")[0]
    assert len(EXAMPLES) == len(table.strip().splitlines()) - 1 > 20
