"""docs/how-to/in-your-service.md does not lie: its code runs, and its limits are those of the wire."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import PATIENCE_S, Stack
from documents import ROOT, blocks

import joinback
from joinback import wire
from joinback.testing import capture

PAGE = ROOT / "docs" / "how-to" / "in-your-service.md"


def test_in_your_service(
    stack: Stack, default_client: joinback.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's decorator and options do what their comments say."""
    monkeypatch.setenv("PSEUDONYM_KEY", "secret")
    monkeypatch.setenv("JOINBACK_REDIS_URL", stack.settings.redis_url)
    (setup,) = [block for block in blocks(PAGE, "python") if "spool_dir" in block]
    namespace: dict[str, Any] = {"joinback": joinback}
    exec(setup.replace("/var/lib/loans", str(tmp_path)), namespace)
    with capture() as events:
        namespace["score"](loan_id="loan_17", amount=900, email="a@b.c 1234567812345678")
        joinback.log_record("internal", inputs=1, outputs=1)
    (event,) = events
    assert event.inputs["email"] not in ("", "a@b.c 1234567812345678")
    assert event.inputs["amount"] == 900
    with capture() as events:
        joinback.log_record("loans", inputs={"text": "my card 1234 5678 1234 5678!"}, outputs=1)
    assert events[0].inputs == {"text": "my card <card>!"}
    assert joinback.flush(PATIENCE_S)
    assert stack.server.exists(stack.record("a"), stack.record("b")) == 2
    assert (tmp_path / "joinback").is_dir()


def test_the_limits() -> None:
    """The limits of the page are those of wire.py."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("At most 1 MiB per event")]
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?= )", line)]
    limits = [wire.JOIN_KEY_BYTES_MAX, wire.APPLICATION_BYTES_MAX, wire.EVENT_ID_BYTES_MAX, wire.RECORD_EVENTS_MAX]
    assert numbers == [wire.EVENT_BYTES_MAX >> 20, *limits]


def test_half_a_prediction(stack: Stack, default_client: joinback.Client) -> None:
    """With inputs alone, or outputs alone, a prediction is dropped, for the reason that the page names."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("- A prediction needs both")]
    (reason,) = re.findall(r"counted as `(\w+)`", line)
    joinback.init(stack.settings.redis_url)
    for count, half in enumerate(({"inputs": {"amount": 900}}, {"outputs": {"default": 0.07}}), 1):
        joinback.log_record("loans", join_key="loan_17", **half)
        assert {name: n for name, n in joinback.stats()["dropped"].items() if n} == {reason: count}


def test_a_table(stack: Stack, default_client: joinback.Client) -> None:
    """The page's table of labels joins, may be logged again, and says nothing where a label is missing."""
    (call,) = [block for block in blocks(PAGE, "python") if "event_ids=" in block]
    joinback.log_records("loans", inputs=[900, 100], outputs=[0.07, 0.5], join_keys=[17, 18])
    frame = pd.DataFrame({"id": [17, 18], "repaid": [True, None], "day": ["2026-11-23", "2026-11-24"]})
    for _ in range(2):
        exec(call, {"joinback": joinback, "frame": frame})
    assert joinback.flush(PATIENCE_S)
    stack.drain()
    assert [(row["join_key"], row["status"]) for row in stack.rows()] == [("17", "joined"), ("18", "predicted")]
    assert stack.books().duplicates == 1
