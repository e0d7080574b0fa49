"""The pages of the demo in a real Chromium: light, dark, narrow, printed, without scripts, by keyboard, and alone.

With UPDATE_DOCS=1 the pictures of docs/how-to/dashboard.md are taken anew.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import wait_for
from dashboard.browser import LOOKS, PICTURES, Browser, chromium
from made_up_records import record_of

from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.report import report
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.dashboard.mailed import page
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

pytestmark = pytest.mark.heavy

IMAGES = Path(__file__).parents[2] / "docs" / "images"
IMAGE_BYTES_MAX = 200_000
"""README loads two at most; one has some 150 kB, a little more or less by the times that it shows."""
APPLICATION = "/application?application=made-up-loans&age=14"
PATHS = {
    "overview": "/",
    "application": APPLICATION,
    "a version": f"{APPLICATION}&version=1.0&days=all",
    "few rows": "/application?application=loans",
    "dead letters and orphans": "/dead?application=loans",
    "a key": "/key?application=loans&join_key=loan_18",
    "its payloads": "/key?application=loans&join_key=loan_18&payloads=shown",
    "no key": "/key?application=loans",
    "doctor": "/doctor",
    "trouble": "/application?application=loan",
}
FOCUSABLE = "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`joinback demo --keep`, and where its page is."""
    log = tmp_path_factory.mktemp("demo") / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "joinback_worker", "demo", "--keep"], env=environment, stdout=output, stderr=output
        )
        try:
            wait_for(lambda: "until Ctrl-C" in log.read_text() or process.poll() is not None)
            found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def quiet(browser: Browser, demo: str) -> Iterator[Browser]:
    """A browser that at the end has complained of nothing, and asked nobody but the dashboard."""
    browser.open("about:blank")
    browser.complaints(), browser.requests()
    yield browser
    said = [line for line in browser.complaints() if "status of 40" not in line]
    assert not said, said
    strangers = [one["url"] for one in browser.requests() if not one["url"].startswith((demo, "data:", "about:"))]
    assert not strangers


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PATHS)
def test_every_page_in_every_look(quiet: Browser, demo: str, name: str, look: str) -> None:
    """The policy refuses nothing, nothing runs over the edge, and every text stands out from what is behind it."""
    quiet.open(demo + PATHS[name], look)
    assert quiet.all("h1")
    over = quiet.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, "the page is wider than its window"
    assert quiet.faint() == []
    if look == "print":
        assert not any(one.is_displayed() for one in quiet.all(".no-print"))


def test_texts_of_pictures_can_be_read_on_a_phone(quiet: Browser, demo: str) -> None:
    """They are drawn larger there: at least ten pixels high on a screen of 380."""
    quiet.open(demo + APPLICATION, "narrow")
    heights = quiet.run(
        "return [...document.querySelectorAll('svg.picture text')].filter(one => one.checkVisibility())"
        ".map(one => one.getBoundingClientRect().height)"
    )
    assert len(heights) > 20
    assert min(heights) >= 10


@pytest.mark.parametrize("look", PICTURES)
def test_the_demo_shows_the_flattering_figure_the_honest_one_and_the_truth(
    quiet: Browser, demo: str, look: str
) -> None:
    """Side by side in one picture and one table."""
    quiet.open(demo + APPLICATION, look)
    legend = quiet.text("figure .legend")
    for part in (
        "so far, which misleads",
        "at 14 days",
        "estimate",
        "bounds",
        "truth, known because the data is made up",
    ):
        assert part in legend
    drawn = quiet.run(
        "return [...document.querySelectorAll('svg.picture')[0].querySelectorAll('.line')]"
        ".map(one => one.getTotalLength())"
    )
    assert len(drawn) == 4
    assert min(drawn) > 100
    picture = quiet.picture("figure")
    assert len(picture) <= IMAGE_BYTES_MAX
    if os.environ.get("UPDATE_DOCS"):
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / f"dashboard-{look.split()[0]}.png").write_bytes(picture)


def test_without_scripts(quiet: Browser, demo: str) -> None:
    """All is there, choices and links work, and nothing promises to refresh."""
    quiet.open(demo, scripts=False)
    assert "made-up-loans" in quiet.text()
    assert "Refreshes" not in quiet.text()
    assert "Reload" in quiet.text()
    quiet.follow(quiet.driver.find_element("link text", "made-up-loans").click)
    assert "accuracy is" in quiet.text()
    quiet.driver.find_element("css selector", "summary").click()
    quiet.driver.find_element("name", "age").send_keys("7")
    quiet.follow(quiet.driver.find_element("css selector", ".choices button").click)
    assert "One age: 7 days (as asked)" in quiet.text()
    quiet.driver.find_element("id", "join_key").send_keys("loan_17")
    quiet.follow(quiet.driver.find_element("css selector", "[role=search] button").click)
    assert quiet.text("h1") == "loan_17"


def test_it_refreshes_in_place_until_it_is_paused(
    quiet: Browser, demo: str, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    """The time changes while the keyboard's place stays where it was; a paused page asks nothing, nor has a script."""
    quiet.open(f"{demo}/?every=5")
    quiet.requests()
    before = quiet.text("#live .quiet")
    link = quiet.driver.find_element("link text", "made-up-loans")
    quiet.run("arguments[0].focus()", link)
    wait_until(lambda: quiet.text("#live .quiet") != before)
    assert quiet.run("return document.activeElement.textContent") == "made-up-loans"
    polled = [one for one in quiet.requests() if one["headers"].get("HX-Request")]
    assert polled
    assert all(one["url"] == f"{demo}/?every=5" for one in polled)
    quiet.follow(quiet.driver.find_element("link text", "Pause").click)
    assert quiet.driver.current_url.endswith("/?every=0")
    assert not quiet.all("script")
    quiet.follow(quiet.driver.find_element("link text", "Resume").click)
    assert quiet.all("script")


def test_trouble_is_shown_where_the_page_was(
    quiet: Browser, demo: str, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    """A refresh that fails puts its sentence into the page, and the next one that works takes it away."""
    quiet.open(f"{demo}/?every=5")
    address = "document.querySelector('#live').setAttribute('hx-get', arguments[0]); htmx.process(document.body, true)"
    quiet.run(address, f"{demo}/?every=7")
    wait_until(lambda: "This cannot be shown" in quiet.text())
    assert "every=7: it must be 0, 5, 10, 30, 60" in quiet.text()


@pytest.mark.parametrize("name", ["overview", "application"])
def test_by_keyboard_alone(quiet: Browser, demo: str, name: str) -> None:
    """Tab reaches everything that can be used, in the page's order, each time with a visible mark; the first skips."""
    from selenium.webdriver.common.keys import Keys

    quiet.open(demo + PATHS[name] + ("&every=0" if "?" in PATHS[name] else "?every=0"))
    reachable = quiet.run(
        "return [...document.querySelectorAll(arguments[0])].filter(one => one.checkVisibility()).length", FOCUSABLE
    )
    seen = []
    for number in range(reachable):
        quiet.driver.switch_to.active_element.send_keys(Keys.TAB)
        tag, outline, top, bottom, height = quiet.run(
            "const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);"
            " return [one.outerHTML.slice(0, 120), style.outlineStyle + ' ' + style.outlineWidth,"
            " box.top, box.bottom, innerHeight]"
        )
        assert outline == "solid 3px", (tag, outline)
        assert bottom > 0, tag
        assert top < height, tag
        if number == 0:
            assert "Skip to the content" in tag
        seen.append(tag)
    assert len(set(seen)) == reachable
    quiet.open(demo + PATHS[name])
    quiet.driver.switch_to.active_element.send_keys(Keys.TAB)
    quiet.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert quiet.run("return document.activeElement.id") == "main"


def test_wide_tables_scroll_by_keyboard_on_a_phone(
    quiet: Browser, demo: str, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    """The arrow key moves a table that is wider than the screen."""
    from selenium.webdriver.common.keys import Keys

    quiet.open(demo + APPLICATION, "narrow")
    region = quiet.driver.find_element("css selector", "[aria-labelledby='days-table']")
    quiet.run("arguments[0].focus()", region)
    region.send_keys(Keys.ARROW_RIGHT)
    wait_until(lambda: quiet.run("return arguments[0].scrollLeft", region) > 0)


def test_a_screen_reader_hears_each_picture(quiet: Browser, demo: str) -> None:
    """In the browser's own accessibility tree each is an image with a name and a description, and its table a table."""
    quiet.open(demo + APPLICATION)
    nodes = quiet.cdp("Accessibility.getFullAXTree")["nodes"]

    def of(role: str) -> list[str]:
        return [node.get("name", {}).get("value", "") for node in nodes if node.get("role", {}).get("value") == role]

    pictures = of("image") + of("img") + of("graphics-document")
    for title in ("Accuracy by prediction day", "Share of predictions with a label", "Calibration", "Difference"):
        assert any(title in name for name in pictures), (title, pictures)
    assert {"By day, the newest first", "Share with a label, by week and age"} <= set(of("table"))
    assert of("main")
    assert of("navigation")


def test_payloads_are_hidden_until_asked_for(quiet: Browser, demo: str) -> None:
    """A key's page tells what happened; what services logged is one link away, and that link is its address."""
    quiet.open(f"{demo}/key?application=loans&join_key=loan_18")
    assert "1250" not in quiet.driver.page_source
    quiet.follow(quiet.driver.find_element("link text", "Show payloads").click)
    assert "payloads=shown" in quiet.driver.current_url
    assert "1250" in quiet.text()


@pytest.mark.parametrize("look", LOOKS)
def test_the_file_to_mail_is_the_same_page(browser: Browser, tmp_path: Path, look: str) -> None:
    """Opened from a disk it has its style, which its policy knows by its digest, and asks for nothing else."""
    now = datetime.now(UTC)
    url = f"sqlite:///{tmp_path}/sink.db"

    async def filled() -> Report:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, now) for loan in made_up_loans(3_000, now)])
        return await report(Settings(sink_url=url), Wanted(application="loans", now=now, age_d=14))

    file = tmp_path / "loans.html"
    file.write_text(page(asyncio.run(filled())), encoding="utf-8")
    browser.complaints(), browser.requests()
    browser.open(file.as_uri(), look)
    assert browser.complaints() == []
    assert {one["url"] for one in browser.requests()} == {file.as_uri()}
    assert browser.run("return getComputedStyle(document.querySelector('.line.accent')).strokeWidth") != "1px"
    assert len(browser.all("svg[role=img]")) == 4
    assert browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert browser.faint() == []


def test_it_prints(quiet: Browser, demo: str) -> None:
    """As a PDF of some pages, dark on white whatever the screen's colours are."""
    quiet.open(demo + APPLICATION, "print")
    assert quiet.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = quiet.cdp("Page.printToPDF", printBackground=False)["data"]
    assert len(printed) > 20_000
