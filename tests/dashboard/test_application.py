"""The page of an application says what the report says, in words, pictures and tables; choices stand in its address."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dashboard.pages import Page
from made_up_records import record_of
from msgspec import Raw, structs
from starlette.testclient import TestClient

from joinback.settings import Settings
from joinback_worker.answers.accuracy import Day
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.headline import headline
from joinback_worker.answers.report import report
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.dashboard.app import app
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.pictures.days import days_picture
from joinback_worker.dashboard.render import STATIC
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

EVIL = "<script>alert(1)</script> & \"loans\" 'x'"
FIRST_PAINT_BYTES_MAX = 100_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A sink of loans, and of an application whose names are made to break a page. There is no Redis."""
    now = datetime.now(UTC)
    url = f"sqlite:///{tmp_path_factory.mktemp('page')}/sink.db"

    async def fill() -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, now) for loan in made_up_loans(6_000, now)])
            evil = [record_of(loan, now, EVIL) for loan in made_up_loans(400, now)]
            for record in evil:
                record.predictions["p"] = structs.replace(
                    record.predictions["p"], outputs=Raw(b'{"<img src=x>":0.4}'), version='<b onload="x">'
                )
            await sink.merge(evil)

    asyncio.run(fill())
    return Settings(sink_url=url, redis_url="redis://127.0.0.1:1/0")


@pytest.fixture(scope="module")
def visitor(settings: Settings) -> TestClient:
    return TestClient(app(Desk(settings=settings)), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def told(settings: Settings) -> Report:
    wanted = Wanted(application="loans", now=datetime.now(UTC), age_d=14)
    return asyncio.run(report(settings, wanted))


def page(visitor: TestClient, **choices: str) -> Page:
    answer = visitor.get("/application", params={"application": "loans", "age": "14", **choices})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def test_it_says_what_the_report_says(visitor: TestClient, told: Report) -> None:
    """The sentences come first, then each figure of each day, as the terminal rounds it."""
    found = page(visitor, days="all")
    for sentence in [*headline(told), told.curves[0].sentence, *told.notes]:
        assert sentence in found.said
    head, *rows = found.tables["days-table"]
    assert head == ["Day", "Predictions", "Coverage", "So far", "At 14 days", "Bounds", "Estimate"]
    assert len(rows) == len(told.together)
    for row, day in zip(rows, reversed(told.together), strict=True):
        # Loans grow older while the test runs: what came by now may be one more.
        assert row[:2] == [day.day, f"{day.predictions:,}"]
        assert row[4] == ("unripe" if not day.ripe else f"{day.at_age:.3f}")
    assert sum(day.predictions for day in told.together) == 6_000


def test_a_comparison_can_be_kept(visitor: TestClient, told: Report) -> None:
    """The page has the lines for joinback.toml that the report prints."""
    found = page(visitor)
    assert told.to_keep[0] == "[applications.loans.feedback.repaid]"
    for line in told.to_keep:
        assert line in found.text.replace("&#34;", '"')


def test_a_single_day_can_be_seen() -> None:
    """It is in the middle, as strokes and a band that are wide enough to see."""
    day = Day(
        day="2026-03-01", version=None, predictions=6, labels=4, coverage=0.67, so_far=0.25, at_age=None,
        at_age_coverage=None, at_least=0.17, at_most=0.5, estimate=None, ripe=False,
    )  # fmt: skip
    drawn = days_picture([day], is_share=True)
    middle = drawn.frame.x(0.5)
    assert drawn.so_far == f"M{middle - 5:g} {drawn.frame.y(0.25):g}h10"
    left, right = re.findall(r"[ML]([\d.]+)", drawn.band)[:2]
    assert (float(left), float(right)) == (middle - 5, middle + 5)
    assert [tick.at for tick in drawn.x_ticks] == [middle]
    (bar,) = drawn.coverage
    assert bar.x < middle < bar.x + bar.width
    assert drawn.unripe_x == drawn.frame.left


def test_each_dot_has_the_colour_of_its_line(visitor: TestClient) -> None:
    """The calibration of two versions: the dots of the first have its class, those of the second the other."""
    dots = [one["class"] for one in page(visitor).all("circle") if "version" in one["class"]]
    assert len(dots) > 10
    assert dots == sorted(dots)
    assert set(dots) == {"spot version1", "spot version2"}


def test_days_together_are_what_their_versions_add_up_to(told: Report) -> None:
    """So far by labels, bounds by predictions: the sums of both versions, and no mean of means."""
    for day in told.together:
        both = [one for one in told.days if one.day == day.day]
        assert day.labels == sum(one.labels for one in both)
        assert day.at_least is not None
        right = sum(one.so_far * one.labels for one in both if one.so_far is not None)
        assert day.at_least * day.predictions == pytest.approx(right)
        assert day.at_age is None or day.ripe


def test_the_tables_say_what_the_pictures_draw(visitor: TestClient, told: Report) -> None:
    """Triangle, versions and calibration have their numbers, and an empty cell where a week is too young."""
    found = page(visitor)
    triangle = found.tables["triangle-table"]
    assert told.triangle is not None
    assert [row[0] for row in triangle[1:]] == [week.monday for week in told.triangle.weeks]
    assert triangle[-1][-1] == ""
    assert triangle[2][2].endswith("0.82") or re.fullmatch(r"\d+ % \d\.\d\d", triangle[2][2])
    versions = {row[0]: row for row in found.tables["versions-table"][1:]}
    for side in told.versions:
        assert versions[str(side.version)][1:3] == [f"{side.predictions:,}", f"{side.labels:,}"]
    assert len(found.tables["calibration-table"]) == 1 + sum(len(one.buckets) for one in told.scores)
    at_14 = next(row for row in found.tables["curve1-table"] if row[0] == "14 days")
    point = next(one for one in told.curves[0].points if one.age_s == 14 * 86_400)
    assert at_14[1] == f"{point.share * 100:.1f} %"


def test_every_picture_has_its_words_and_its_table(visitor: TestClient) -> None:
    """A screen reader gets a title, a description and a table; what only adorns is hidden from it."""
    found = page(visitor)
    ids = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
    pictures = [one for one in found.all("svg") if one.get("role") == "img"]
    assert len(pictures) == 4
    for one in pictures:
        assert set(one["aria-labelledby"].split()) <= ids
    assert all(one.get("aria-hidden") == "true" for one in found.all("svg") if one.get("role") != "img")
    assert len(found.tables) >= len(pictures)
    scrolled = [one for one in found.all("div") if one.get("class") == "wide"]
    assert scrolled
    assert all(one["tabindex"] == "0" and one["aria-labelledby"] in ids for one in scrolled)
    assert all({"scope"} <= one.keys() for one in found.all("th"))
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("h1")) == 1


def test_a_picture_is_the_geometry_of_the_figures(visitor: TestClient, told: Report) -> None:
    """The line of the labels that came goes through each day at its share of the height."""
    found = page(visitor)
    line = next(one["d"] for one in found.all("path") if one.get("class") == "line flat" and len(one["d"]) > 40)
    spots = [tuple(map(float, spot.split())) for spot in line.removeprefix("M").split("L")]
    values = [day.so_far for day in told.together if day.so_far is not None]
    assert len(spots) == len(values)
    lowest = 300 - 20
    for (_, y), value in list(zip(spots, values, strict=True))[:30]:
        assert (lowest - y) / (lowest - 14) == pytest.approx(value, abs=0.003)


def test_what_is_chosen_stands_in_the_address(visitor: TestClient) -> None:
    """A link shows another the same: field, output, positive label, age, since, version, compared versions."""
    chosen = page(visitor, field="repaid", output="default", positive="false", threshold="0.4", version="1.1", age="7")
    assert "output 'default' >= 0.4 against field 'repaid' = false (as set)" in chosen.said
    assert "One age: 7 days (as asked)" in chosen.said
    assert "version 1.1" in chosen.said
    together = {row[0]: row[1] for row in page(visitor).tables["days-table"]}
    alone = {row[0]: row[1] for row in chosen.tables["days-table"]}
    assert any(int(alone[day]) < int(together[day]) for day in list(alone)[1:])
    selected = {one.get("value") for one in chosen.all("input") if one.get("name") in ("positive", "threshold", "age")}
    assert selected == {"false", "0.4", "7"}
    since = page(visitor, since="2999-01-01", days="all")
    assert "days-table" not in since.tables
    compared = page(visitor)
    assert "1.1 minus 1.0" in compared.said
    answer = visitor.get("/application?application=loans&age=14&compare=1.1&compare=1.0")
    assert "1.0 minus 1.1" in Page(answer.text).said
    # As the form sends it, with what was left empty.
    answer = visitor.get("/application?application=loans&field=&compare=&compare=&threshold=&since=&age=14")
    assert "1.1 minus 1.0" in Page(answer.text).said


def test_all_days_are_one_link_away(visitor: TestClient) -> None:
    """The table begins with the newest thirty; the picture has them all."""
    found = page(visitor)
    assert len(found.tables["days-table"]) == 31
    (link,) = [one["href"] for one in found.all("a") if "days=all" in one["href"]]
    whole = Page(visitor.get(link.partition("#")[0]).text)
    assert len(whole.tables["days-table"]) > 55
    assert found.tables["days-table"][1:] == whole.tables["days-table"][1:31]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "the address lacks application=…"),
        ("application=loan", 404, "Did you mean loans ?"),
        ("application=loans&field=paid", 400, "no feedback has the field 'paid'; known are repaid"),
        ("application=loans&output=risk", 400, "no output 'risk'; known are default"),
        ("application=loans&version=9", 400, "no version '9'; known are 1.0, 1.1"),
        ("application=loans&age=old", 400, "age=old is not a number"),
        ("application=loans&age=-1", 400, "age=-1: it must be above 0 and at most 3650 days"),
        ("application=loans&age=99999", 400, "age=99999: it must be above 0 and at most 3650 days"),
        ("application=loans&since=yesterday", 400, "'yesterday' is not a date; write it as 2026-10-01"),
        ("application=loans&compare=1.0", 400, "compare=… compares two versions"),
        ("application=%00", 400, "contains a NUL character"),
        ("application=loans&field=a%00", 400, "field=… contains a NUL character"),
        ("application=loans&threshold=7", 400, "the output 'default' is a probability"),
        ("application=loans&threshold=nan", 400, "threshold nan: it must be a finite number"),
    ],
)
def test_a_wrong_choice_is_a_sentence(visitor: TestClient, query: str, status: int, said: str) -> None:
    """With its fix, and never a traceback."""
    answer = visitor.get(f"/application?{query}")
    assert answer.status_code == status
    assert said in Page(answer.text).said
    assert "Traceback" not in answer.text


def test_names_that_are_markup_are_text(visitor: TestClient) -> None:
    """Application, output and version cannot add an element, an attribute or a link to elsewhere."""
    answer = visitor.get("/application", params={"application": EVIL})
    assert answer.status_code == 200
    found = Page(answer.text)
    assert EVIL in found.said
    assert not found.all("img")
    assert not found.all("b")
    assert len(found.all("script")) == 0
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    for one in [*found.all("a"), *found.all("form")]:
        assert one.get("href", one.get("action", "")).startswith(("/", "#"))


def test_nothing_is_inline_or_from_elsewhere(visitor: TestClient) -> None:
    """No style attribute, no script of its own, no address of another host: the policy would refuse them."""
    for text in (visitor.get("/application?application=loans").text, visitor.get("/nowhere").text):
        found = Page(text)
        assert not any("style" in attributes for _, attributes in found.elements)
        assert not found.all("style")
        assert not re.search(r"https?://|//[a-z]", text)
        for one in [*found.all("script"), *found.all("link")]:
            assert one.get("src", one.get("href")).startswith(("/static/", "data:,"))


def test_the_first_paint_is_light(visitor: TestClient) -> None:
    """Page, style and script together, uncompressed, with all days of two months."""
    page = visitor.get("/application?application=loans&age=14&days=all").content
    whole = len(page) + sum(len((STATIC / name).read_bytes()) for name in ("style.css", "htmx.min.js"))
    assert whole < FIRST_PAINT_BYTES_MAX, whole


def test_the_truth_is_drawn_where_it_is_known(settings: Settings, told: Report) -> None:
    """Of made-up data alone: a line, and a column, of all versions together."""
    truth = {day.day: 0.75 for day in told.together}
    visitor = TestClient(app(Desk(settings=settings, truth={"loans": truth})), base_url="http://127.0.0.1")
    found = page(visitor)
    assert found.tables["days-table"][0][-1] == "Truth"
    assert found.tables["days-table"][1][-1] == "0.750"
    assert "truth, known because the data is made up" in found.said
    assert "Truth" not in page(visitor, version="1.0").tables["days-table"][0]


def test_a_proxys_prefix_stands_before_every_link(settings: Settings) -> None:
    """With --root-path, links, forms, style and script lead there, whether the proxy takes it away or not."""
    visitor = TestClient(app(Desk(settings=settings), root="/joinback"), base_url="http://127.0.0.1")
    found = Page(visitor.get("/joinback/application?application=loans").text)
    assert visitor.get("/application?application=loans").status_code == 200
    tags = ("a", "form", "link", "script")
    links = [one.get("href", one.get("action", one.get("src", ""))) for tag in tags for one in found.all(tag)]
    ours = [link for link in links if not link.startswith(("#", "data:"))]
    assert ours
    assert all(link.startswith("/joinback/") for link in ours)


def test_no_sink_yet(tmp_path: Path) -> None:
    """It is said, and none is made."""
    pages = app(Desk(settings=Settings(sink_url=f"sqlite:///{tmp_path}/none.db")))
    answer = TestClient(pages, base_url="http://127.0.0.1").get("/application?application=loans")
    assert answer.status_code == 503
    assert "does not exist yet" in Page(answer.text).said
    assert not list(tmp_path.iterdir())
