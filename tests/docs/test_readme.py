"""README does not lie: its code runs, its outputs are what comes out, and CI calls its commands."""

import sqlite3
from contextlib import closing
from typing import Any

from conftest import PATIENCE_S, Cli, Stack
from documents import ROOT, blocks

import joinback

README = ROOT / "README.md"
LINES_MAX = 120
"""A newcomer reads it to the end."""


def test_thirty_seconds(stack: Stack, default_client: joinback.Client, cli: Cli) -> None:
    """The service of README serves, its drain joins, and its query answers as README says."""
    namespace: dict[str, Any] = {}
    exec(blocks(README, "python")[0], namespace)
    service = namespace["app"].test_client()
    assert service.post("/loans/loan_17/predict", json={"amount": 900}).json == {"default": 0.07}
    assert service.post("/loans/loan_17/repay").status_code == 204
    assert joinback.flush(PATIENCE_S)
    assert cli("drain").returncode == 0
    (query,) = blocks(README, "sql")
    with closing(sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///"))) as database:
        answer = ["|".join(map(str, row)) for row in database.execute(query)]
    assert "\n".join(answer) + "\n" == blocks(README, "text")[0]


def test_it_is_short() -> None:
    """README is read in one go: what is longer has a page of its own."""
    assert len(README.read_text().splitlines()) <= LINES_MAX


def test_ci_calls_readmes_test_command() -> None:
    """What README tells a stranger to run is what CI runs."""
    install, test = blocks(README, "sh")
    ci = (ROOT / ".ci" / "run").read_text()
    assert test.strip() in ci
    assert "joinback demo" in install


def test_ci_runs_what_readmes_test_command_leaves_out() -> None:
    """The marker that README's command deselects is the one that CI's own step selects, with the extra it needs."""
    ci = (ROOT / ".ci" / "run").read_text()
    heavy = ".venv/bin/pip install -q -e '.[dev,heavy]' && .venv/bin/pytest -q -n 2 -m heavy"
    assert heavy in ci
    assert heavy in (ROOT / "CONTRIBUTING.md").read_text()
    assert '"-m", "not heavy"' in (ROOT / "pyproject.toml").read_text()
