"""Every page: its links lead somewhere, it sends nobody to a package index, and its commands exist."""

import re
import sys
from pathlib import Path

import pytest
from documents import ROOT, pages

sys.path.append(str(ROOT / "docs"))
import write_commands


def anchors(path: Path) -> set[str]:
    """Return what a link to a heading of the page may say, as forges and MkDocs make it."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links(path: Path) -> None:
    """Each link to a file of ours, and to a heading in it, leads there."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target) if target else path
        assert file.exists(), f"{path.name} links to {link}"
        if anchor:
            assert anchor in anchors(file), f"{path.name} links to {link}"


def test_nobody_is_sent_to_a_package_index() -> None:
    """No error and no page advises to install a package of our name, which somebody else may take."""
    for path in [*pages(), *(ROOT / "client").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]:
        assert not re.search(r"(?:pip|uv|poetry) (?:install|add) [^.\n]*\bjoinback\b", path.read_text()), path


def test_the_commands_are_those_of_this_version() -> None:
    """The reference of commands is what their help says; `python docs/write_commands.py` writes it anew."""
    assert write_commands.PAGE.read_text() == write_commands.page()


def test_help_fits_a_terminal() -> None:
    """Every help is whole in 80 columns."""
    _, *sections = re.split(r"^## ", write_commands.page(), flags=re.MULTILINE)
    assert len(sections) > 20
    for section in sections:
        assert max(map(len, section.splitlines())) <= write_commands.WIDTH, section.splitlines()[0]
