"""docs/how-to/dashboard.md names the pages and choices that there are, and what is vendored is what it says to be."""

import re
from pathlib import Path

from joinback_worker.dashboard.app import VIEWS
from joinback_worker.dashboard.bounded import AT_ONCE, TIMEOUT_S
from joinback_worker.dashboard.doors import PROBES
from joinback_worker.dashboard.place import EVERY_S_DEFAULT
from joinback_worker.dashboard.render import FOLDER, HTMX_VERSION, STATIC

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "dashboard.md"
DOC = PAGE.read_text()


def test_every_page_is_listed() -> None:
    """And none that is not there."""
    listed = re.findall(r"`(/[a-z]*)[?`]", DOC.partition("## Pages")[2].partition("## Who")[0])
    assert set(listed) == set(VIEWS) | PROBES


def test_every_choice_is_listed() -> None:
    """What a view reads from its address, beside application and join key."""
    sources = [*(FOLDER / "views").glob("*.py"), FOLDER / "place.py"]
    read = {name for path in sources for name in re.findall(r'\.(?:get|all|number)\("(\w+)"\)', path.read_text())}
    (line,) = [line for line in DOC.splitlines() if line.startswith("- Whatever is chosen")]
    assert read - {"join_key"} == set(re.findall(r"`(\w+)[=`]", line))


def test_the_limits_are_told() -> None:
    """Seconds of a refresh and of an answer, and how many are asked at a time."""
    assert (EVERY_S_DEFAULT, TIMEOUT_S, AT_ONCE) == (10, 30.0, 4)
    assert "refreshes every ten seconds" in DOC
    assert "more than 30 seconds" in DOC
    assert "at most four are asked at a time" in DOC


def test_its_pictures_are_there_and_light() -> None:
    """Each with words for who cannot see it."""
    found = re.findall(r"!\[(.+?)\]\((.+?)\)", DOC)
    assert len(found) == 3
    for words, path in found:
        assert len(words) > 20
        assert 10_000 < (PAGE.parent / path).stat().st_size <= 200_000


def test_what_is_vendored_is_the_version_it_says() -> None:
    """With its licence beside it."""
    assert f'version="{HTMX_VERSION}"' in (STATIC / "htmx.min.js").read_text()
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text()
