"""docs/explanation/guarantees.md does not lie: each guarantee names tests that exist."""

import re

from documents import ROOT

PAGE = ROOT / "docs" / "explanation" / "guarantees.md"


def test_every_guarantee_names_a_test_that_exists() -> None:
    """The proofs of the guarantees table are tests of this suite."""
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in tests} == set()
