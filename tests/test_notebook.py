"""examples/late_labels.ipynb runs, prints what it shows, and what it says of its figures is true."""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.heavy

PATH = Path(__file__).parents[1] / "examples" / "late_labels.ipynb"


@pytest.fixture(scope="module")
def ran() -> dict[str, Any]:
    """Its names after its last cell. With UPDATE_DOCS=1 what the cells print is written into it.

    A kernel's work without a kernel: a cell runs in the names of those before, and may await.
    """
    notebook = json.loads(PATH.read_text())
    names: dict[str, Any] = {}
    try:
        for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
            _run(number, cell, names)
    finally:
        # Its last cell does, unless one before it failed.
        if "folder" in names:
            names["folder"].cleanup()
    if os.environ.get("UPDATE_DOCS"):
        PATH.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return names


def _run(number: int, cell: dict[str, Any], names: dict[str, Any]) -> None:
    code = compile("".join(cell["source"]), f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        done = eval(code, names)
        if inspect.iscoroutine(done):
            asyncio.run(done)
    printed = out.getvalue().splitlines(keepends=True)
    shown = [{"name": "stdout", "output_type": "stream", "text": printed}] if printed else []
    if os.environ.get("UPDATE_DOCS"):
        cell["outputs"] = shown
    else:
        assert cell["outputs"] == shown


def over(table: Any, figure: str) -> float:
    """Of several days together."""
    return float((table[figure] * table["predictions"]).sum() / table["predictions"].sum())


def test_the_plain_figure_flatters(ran: dict[str, Any]) -> None:
    """Of the newest three days it is well above the truth, of the oldest three it is not."""
    table = ran["table"]
    assert table["so_far"].tolist() == pytest.approx(ran["naive"].tolist())
    assert over(table[-3:], "so_far") - over(table[-3:], "truth") > 0.09
    assert abs(over(table[:3], "so_far") - over(table[:3], "truth")) < 0.02


def test_the_cure(ran: dict[str, Any]) -> None:
    """The truth is between the bounds on each day, and the estimate is nearer to it than the plain figure is."""
    table = ran["table"]
    assert len(table) == 8
    assert (table["at_least"] <= table["truth"] + 1e-9).all()
    assert (table["truth"] <= table["at_most"] + 1e-9).all()
    newest = table[-3:]
    assert abs(over(newest, "estimate") - over(newest, "truth")) < over(newest, "so_far") - over(newest, "truth")
    assert table["at_age"].isna().tolist() == [False] * 6 + [True] * 2


def test_the_curve(ran: dict[str, Any]) -> None:
    """The share with a label by an age, of all that will ever be told, is within the band of what was simulated."""
    cases = ran["cases"]
    delay_d = (cases["told_at"] - cases["at"]).dt.total_seconds() / 86_400
    points = {point.age_s / 86_400: point for point in ran["curve"].points}
    for age_d in (3, 7, 14):
        assert points[age_d].low <= (delay_d <= age_d).mean() <= points[age_d].high
