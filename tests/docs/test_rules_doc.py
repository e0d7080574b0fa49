"""docs/reference/rules.md: its file is read, its table is what the worker makes, its calls give the sums it says."""

import asyncio
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from conftest import Stack
from events import NOON, feedback, prediction, record
from msgspec import structs

import joinback
from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of, look
from joinback_worker.law.record import Record
from joinback_worker.law.reduce import Reducer
from joinback_worker.law.row import project
from joinback_worker.law.rules import FieldRules, Policy, Rules
from joinback_worker.sinks import open_sink

PATH = Path(__file__).parents[2] / "docs" / "reference" / "rules.md"
DOC = PATH.read_text()
HOUR, DAY = 3_600, 86_400
TABLE = re.compile(r"(<!-- moments.*?-->\n)(.*?)(<!-- to here -->)", re.DOTALL)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The document's file."""
    (text,) = re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL)
    path = tmp_path / "joinback.toml"
    path.write_text(text)
    return str(path)


def test_the_file_is_right(config: str) -> None:
    """What the document declares has no mistake, and says what its words say."""
    rules, problems = look(Settings(config=config))
    assert problems == ()
    assert rules.rules_of("ads").labels == ["bought"]
    assert rules.rules_of("another") == Rules()


def test_each_key_is_explained() -> None:
    """Every key of an application and of a field has a row, and no other."""
    application, field = DOC.partition("| key of a feedback field")[::2]
    named = [set(re.findall(r"`(\w+)`", cell)) for cell in re.findall(r"^\| (`[^|]+) \|", application, re.MULTILINE)]
    assert set().union(*named) == set(Rules.__struct_fields__) - {"feedback"}
    table = field.partition("\n\n")[0]
    named = [set(re.findall(r"`(\w+)`", cell)) for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)]
    assert set().union(*named) == set(FieldRules.__struct_fields__)


def test_the_reducers() -> None:
    """The page names every reducer, and no other."""
    (line,) = [line for line in DOC.splitlines() if line.startswith("| `reducer` |")]
    assert set(re.findall(r"`(\w+)`", line)) - {"reducer"} == set(get_args(Reducer))


MOMENTS = {"a minute": 60, "two hours": 2 * HOUR, "21 days": 21 * DAY, "31 days": 31 * DAY}
CLICKS = {"a": 5, "b": 7}
PURCHASES = {"a": 20 * DAY}


def life(key: str, until_s: int) -> Record:
    """What was logged of one impression until then."""
    fields = {"prediction:p": prediction(0)}
    for event_id, name, times in (("c", "clicked", CLICKS), ("b", "bought", PURCHASES)):
        if times.get(key, until_s + 1) <= until_s:
            fields[f"feedback:{event_id}"] = feedback(times[key], **{name: True})
    return structs.replace(record(fields, key), application="ads")


def test_four_moments(config: str, tmp_path: Path) -> None:
    """The table is what a sink holds, drained at each moment and not again."""
    rules = config_of(Settings(config=config)).rules_of("ads")
    lines = [
        "| when, and which row | status | feedback | default_fields | feedback_delay_s |",
        "| --- | --- | --- | --- | --- |",
    ]

    async def tick(seconds: int) -> list[str]:
        policy = Policy(rules, NOON + timedelta(seconds=seconds))
        async with open_sink(f"sqlite:///{tmp_path}/ads.db", policy) as sink:
            await sink.merge([life(key, seconds) for key in "abc"])
            await sink.close_matured("ads")
            rows = await sink.get("ads", ["a", "b", "c"])
        for key in "abc":
            assert rows[key] == project(life(key, seconds), policy)[0]
        return [
            f": {key} | {row.status} | {_code(row.feedback)} | {_code(row.default_fields)} |"
            f" {'' if row.feedback_delay_s is None else row.feedback_delay_s} |"
            for key, row in sorted(rows.items())
        ]

    for moment, seconds in MOMENTS.items():
        lines += [f"| after {moment}{cells}" for cells in asyncio.run(tick(seconds))]
    found = TABLE.search(DOC)
    assert found is not None
    assert found[2].splitlines() == lines


def _code(cell: bytes | None) -> str:
    return "" if cell is None else f"`{cell.decode()}`"


def test_the_calls(config: str, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """405, then 5, then 405 again, as the comments say."""
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    monkeypatch.setattr(joinback, "log_record", stack.client.log_record)
    monkeypatch.setattr(joinback, "retract", stack.client.retract)
    said = []
    for step in code.split("\n\n")[0:1] + code.split("\n\n")[1].strip().splitlines():
        exec(step, {"joinback": joinback})
        stack.drain(config=config)
        said.append(stack.row("ad_1")["feedback"])
    assert said == ['{"clicks":405}', '{"clicks":5}', '{"clicks":405}']
    assert len(tomllib.loads(Path(config).read_text())["applications"]) == 1
