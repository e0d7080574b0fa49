"""Every page: its links lead somewhere, it sends nobody to a package index, and its commands exist."""

import re
import sys
from pathlib import Path

import pytest
from documents import ROOT, blocks, pages

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


FOLDERS = "bench|client|deploy|docs|examples|findings|tests|worker"
PATH = re.compile(rf"(?<![\w/.:{{}}-])(?:{FOLDERS})/[\w./-]*\w")
CODE = re.compile(r"[\w.-]+(?:/[\w.-]+)+\.(?:py|lua|sql|sh|md|toml|yaml|json|ipynb)")
BASES = [ROOT, ROOT / "client", ROOT / "client" / "joinback", ROOT / "worker" / "joinback_worker"]
"""A page may leave out the folder of the client or of the worker: `law/reduce.py`."""
MADE_UP = {"findings/STATES-THE-FACT.sh"}


# The changelog tells of former versions too.
@pytest.mark.parametrize("path", [path for path in pages() if path.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_paths_exist(path: Path) -> None:
    """Each file and folder of the repository that a page names is there."""
    text = path.read_text()
    named = set(PATH.findall(text))
    named |= {word for span in re.findall(r"`([^`\n]+)`", text) for word in span.split() if CODE.fullmatch(word)}
    assert {name for name in named - MADE_UP if not any((base / name).exists() for base in BASES)} == set()


def test_code_names_pages_that_exist() -> None:
    """Each page and each file of deploy/ that our code and our tests name is there."""
    ours = [path for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")]
    named = {
        (path, name)
        for path in ours
        for name in re.findall(r"(?<![\w/.-])(?:docs|deploy)/[\w/-]+\.\w+", path.read_text())
    }
    assert len(named) > 10
    # tests/planted.py leaves out `tests/`.
    bases = (ROOT, ROOT / "tests")
    assert {(path.name, name) for path, name in named if not any((base / name).exists() for base in bases)} == set()


def test_no_page_logs_what_another_erases() -> None:
    """A key that a page erases stands in no code of another page: its tombstone would delete the event."""
    texts = [path.read_text() for path in pages()]
    erased = {
        key
        for text in texts
        for keys in re.findall(r"joinback erase loans ((?:loan_\d+ ?)+)", text)
        for key in keys.split()
    }
    code = "\n".join(block for path in pages() for block in blocks(path, "python") + blocks(path, "csv"))
    assert erased
    assert {key for key in erased if re.search(rf"\b{key}\b", code)} == set()


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
