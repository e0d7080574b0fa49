"""The documentation builds as a site, with no link that leads nowhere, and asks nothing of another host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT

pytestmark = pytest.mark.heavy


def test_the_site(tmp_path: Path) -> None:
    """Sphinx has nothing to warn of, every page stands in it, and no page loads anything from elsewhere."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made = {path.relative_to(tmp_path).with_suffix(".md") for path in tmp_path.rglob("*.html")}
    assert {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")} <= made
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"(\w+:)?//", page.read_text())
        assert loaded == [], page.name
