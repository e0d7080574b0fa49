"""docs/how-to/redact-and-sample.md does not lie: each rule of its table is one, and does what stands beside it."""

import re
from typing import Any

from documents import ROOT

from joinback.redaction import Drop, Hash, Replace, Truncate, preview

PAGE = ROOT / "docs" / "how-to" / "redact-and-sample.md"
RECORD = {
    "inputs": {"ssn": "078-05-1120", "email": "a@b.c", "prompt": "x" * 300, "note": "card 4711"},
    "outputs": 1,
    "join_key": "loan_17",
}


def left_by(rule: Any) -> Any:
    """Return the event that leaves the process under one rule."""
    (event,) = preview(RECORD, redact=[rule])
    return event


def test_each_rule() -> None:
    """The rules of the table, read as Python, change what the table says that they change."""
    names = {"Drop": Drop, "Hash": Hash, "Replace": Replace, "Truncate": Truncate, "pattern": r"\d{4}"}
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.read_text(), re.MULTILINE)
    spans = [span.replace("key=…", "key='secret'") for row in rows for span in re.findall(r"`([^`]+)`", row)]
    by_path, drop, hashed, hashed_key, truncated, replaced = (eval(span, dict(names)) for span in spans)
    for rule in (by_path, drop):
        assert "ssn" not in left_by(rule).inputs
    assert re.fullmatch(r"[0-9a-f]{32}", left_by(hashed).inputs["email"])
    assert re.fullmatch(r"[0-9a-f]{32}", left_by(hashed_key).join_key)
    assert left_by(truncated).inputs["prompt"] == "x" * 200 + "…"
    assert left_by(replaced).inputs["note"] == "card <card>"
