"""examples/late_labels.ipynb runs, prints what it shows, and what it says of its figures is true."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Its names after its last cell."""
    names = tmp_path_factory.mktemp("notebook") / "names"
    script = Path(__file__).parent / "notebook.py"
    done = subprocess.run([sys.executable, script, names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = pickle.loads(names.read_bytes())
    return made


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
