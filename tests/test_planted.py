"""The mistakes of tests/planted.py can be planted: each text stands once in its file, and its tests exist."""

import pytest
from planted import MISTAKES, ROOT, Mistake


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_can_be_planted(mistake: Mistake) -> None:
    """What it changes is there, so that a change of the code takes its mistakes along."""
    assert mistake.right in (ROOT / mistake.file).read_text()
    assert mistake.right != mistake.wrong
    for where in mistake.where.split():
        assert (ROOT / "tests" / where).exists(), where
