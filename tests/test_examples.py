"""What the examples print is true of the data that went in."""

import importlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PATIENCE_S

from joinback_worker.embedded import embedded_valkey

pytestmark = pytest.mark.heavy

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED_ROW = re.compile(r"^ *(\d{4}-\d\d-\d\d) +(\d+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)

Days = dict[str, tuple[int, int, float, float, float]]
"""Day -> predictions, labelled, accuracy so far, and what it is if the missing labels are wrong, or right."""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("accuracy_by_day")


def run(folder: Path, **variables: str) -> Days:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "accuracy_by_day.py"],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return {
        day: (int(predictions), int(labelled), float(so_far), float(at_least), float(at_most))
        for day, predictions, labelled, so_far, at_least, at_most in PRINTED_ROW.findall(done.stdout)
    }


def computed(example: ModuleType) -> Days:
    """The same numbers with scikit-learn alone: no service, no Redis, no SQL."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.metrics import accuracy_score

    data = load_breast_cancer()
    model = example.train(example.KNOWN)
    day_of: dict[int, str] = {}
    labelled: set[int] = set()
    for call in example.calls():
        case, action = re.fullmatch(r"/cases/(\d+)/(predict|diagnose)", call.path).groups()
        if action == "predict":
            day_of[int(case)] = call.at.date().isoformat()
        else:
            labelled.add(int(case))
    served_on: defaultdict[str, list[int]] = defaultdict(list)
    for case, day in day_of.items():
        served_on[day].append(case)
    days: Days = {}
    for day, cases in served_on.items():
        known = [case for case in cases if case in labelled]
        # Target 0 is malignant.
        accuracy = accuracy_score(data.target[known] == 0, model.predict(data.data[known]))
        least = accuracy * len(known) / len(cases)
        figures = (accuracy, least, least + 1 - len(known) / len(cases))
        days[day] = (len(cases), len(known), *(pytest.approx(figure, abs=0.0006) for figure in figures))
    return days


def test_accuracy_by_day_in_sql_is_that_of_scikit_learn(example: ModuleType, tmp_path: Path) -> None:
    """What the query counts and averages over the joined rows is what scikit-learn finds in the data sent."""
    expected = computed(example)
    labels_sent = sum(call.path.endswith("/diagnose") for call in example.calls())

    days = run(tmp_path)

    assert days == expected
    assert len(days) == example.DAYS
    # The comparison means something: some days are wrong somewhere, and some labels never come.
    assert len({so_far for _, _, so_far, *_ in days.values()}) > 1
    assert sum(labelled for _, labelled, *_ in days.values()) == labels_sent < len(example.HELD_OUT)
    assert not list(tmp_path.iterdir()), "the example leaves nothing behind"


def test_accuracy_by_day_can_run_twice_on_a_redis_and_a_sink_in_use(example: ModuleType, tmp_path: Path) -> None:
    """A replay repeated on the same Redis and the same sink changes no number."""
    with embedded_valkey() as url:
        variables = {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": f"sqlite:///{tmp_path}/kept.db"}
        first = run(tmp_path, **variables)
        second = run(tmp_path, **variables)

    assert first == second == computed(example)
    assert (tmp_path / "kept.db").exists()
