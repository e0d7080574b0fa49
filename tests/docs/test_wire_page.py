"""docs/reference/wire.md does not lie: its program writes what the worker joins, and its numbers are the wire's."""

import json
import re
from typing import Any, get_args

import pytest
from conftest import Stack
from documents import ROOT, blocks

from joinback import wire

PAGE = ROOT / "docs" / "reference" / "wire.md"


def test_the_program(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of the page, without Joinback, writes a prediction and its feedback, and a drain joins them."""
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"url": stack.settings.redis_url}
    for program in blocks(PAGE, "python"):
        exec(program, names)
    names["server"].close()
    assert (names["accepted"], names["duplicates"], names["overflowed"], names["failed"]) == (1, 0, 0, [])
    stack.drain()
    row = stack.row(names["join_key"])
    parts = row["status"], json.loads(row["outputs"]), json.loads(row["feedback"])
    assert parts == ("joined", {"default": 0.07}, {"repaid": True})
    assert stack.books().in_rows == 2


def test_a_repetition(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program run twice writes the same events once."""
    monkeypatch.chdir(ROOT)
    program = blocks(PAGE, "python")[0]
    names: dict[str, Any] = {"url": stack.settings.redis_url}
    for _ in range(2):
        exec(program, names)
        names["server"].close()
    assert (names["accepted"], names["duplicates"]) == (0, 1)


def test_the_limits() -> None:
    """The numbers that the program sends are those that the client sends."""
    (numbers,) = re.findall(r"^limits = \[len\(prefix\.encode\(\)\), (.*)\]$", PAGE.read_text(), re.MULTILINE)
    sent = wire.write_arguments("loans", 604_800, [])
    assert [int(number) for number in numbers.split(", ")] == [int(number) for number in sent[1:]]


def test_each_member_is_explained() -> None:
    """Each member of an event has a line, and no other."""
    rows = re.findall(r"^\| (`[^|]+) \| (?:all|prediction|feedback|retraction)", PAGE.read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    kinds = (wire.Prediction, wire.Feedback, wire.Retraction)
    assert named == {name for kind in kinds for name in kind.__struct_fields__}
    assert len(kinds) == len(get_args(wire.Kind))
