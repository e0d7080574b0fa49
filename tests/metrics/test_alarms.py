"""Alarms: each fires when it must and is silent when it must be; dashboard, rules and runbook name what there is."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from joinback.drops import LOST, WRONG_CALLS
from joinback_worker.metrics.catalogue import METRIC_NAMES
from joinback_worker.operating.findings import FINDING_NAMES
from joinback_worker.operating.letters import LOST as LOST_BY_HAND

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "joinback.json").read_text())
(GROUP,) = yaml.safe_load((PROMETHEUS / "joinback.rules.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
RUNBOOK = (ROOT / "docs" / "how-to" / "alarms.md").read_text()
DEAD_LETTERS = (ROOT / "docs" / "how-to" / "dead-letters.md").read_text()


def queries() -> Iterator[str]:
    """Every expression in PromQL that we ship."""
    yield from (rule["expr"] for rule in RULES)
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (
        variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"
    )


def test_every_metric_exists() -> None:
    """Rules and dashboard ask for metrics of the catalogue alone, and by findings that there are."""
    asked = {name for query in queries() for name in re.findall(r"\bjoinback_\w+", query)}
    assert asked <= set(METRIC_NAMES)
    assert len(asked) > 15
    named = {
        name
        for query in queries()
        for names in re.findall(r'\bname[=!]~?"([^"]+)"', query)
        for name in names.split("|")
    }
    assert named <= set(FINDING_NAMES)
    assert len(named) > 8


def test_closed_books_are_no_dead_letters() -> None:
    """No alert and no panel on dead letters counts the events that a person counted as lost."""
    counted = [query for query in queries() if "joinback_dead_events_total" in query]
    assert len(counted) > 1
    assert [query for query in counted if f'reason!="{LOST_BY_HAND}"' not in query] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_each_alert_has_its_section(rule: dict[str, Any]) -> None:
    """The runbook has a section per alert, which the alert names, and the alert says how urgent it is."""
    name = rule["alert"]
    assert f"\n### {name}\n" in RUNBOOK
    assert rule["annotations"]["runbook"] == f"docs/how-to/alarms.md#{name.lower()}"
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_each_alert_is_tried_both_ways() -> None:
    """The tests of the rules hold for each alert a moment when it fires, and one when it is silent."""
    tests = yaml.safe_load((PROMETHEUS / "joinback.rules.test.yaml").read_text())["tests"]
    tried = [alert for test in tests for alert in test["alert_rule_test"]]
    fires = {alert["alertname"] for alert in tried if alert["exp_alerts"]}
    silent = {alert["alertname"] for alert in tried if not alert["exp_alerts"]}
    assert fires == silent == {rule["alert"] for rule in RULES}


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["check rules joinback.rules.yaml", "test rules joinback.rules.test.yaml"])
def test_promtool(command: str) -> None:
    """Prometheus's own tool finds the rules in order, and each fires and is silent when its tests say."""
    done = subprocess.run(["promtool", *command.split()], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_dashboard() -> None:
    """The dashboard asks the data source that its reader chooses, and no panel lies over another."""
    cells = set()
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        at = panel["gridPos"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= covered


def test_the_runbook_names_reasons_that_there_are() -> None:
    """The reasons that the pages explain are those that the code gives, of letters and of drops."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))

    def named(text: str) -> set[str]:
        rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        return {reason for row in rows for reason in re.findall(r"`(\w+)`", row)}

    sources = "\n".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    given = set(re.findall(r'(?:DeadEntry|Bad|Unusable|Rejected)\((?:[\w.]+, )*"(\w+)"', sources))
    given |= {f"{kind}_overflow" for kind in ("prediction", "feedback", "retraction")} | {
        "pending_expired",
        LOST_BY_HAND,
    }
    assert named(DEAD_LETTERS) == given
    assert named(sections["JoinbackClientDrops"]) <= LOST | WRONG_CALLS
