"""The pages of what an operator asks say what the commands say, hide payloads until asked, and change nothing."""

import json
from collections.abc import Iterator

import pytest
from conftest import PATIENCE_S, Cli, Stack
from dashboard.pages import Page
from msgspec import structs
from starlette.testclient import TestClient

from joinback import wire
from joinback_worker.dashboard.app import app
from joinback_worker.dashboard.desk import Desk

SECRET = "secret-income-4711"


@pytest.fixture
def visitor(stack: Stack) -> Iterator[TestClient]:
    """Of an application with a joined row, one that waits, an orphan, and a dead letter."""
    log = stack.client.log_record
    for key in ("loan_17", "loan_18", "0019"):
        log("loans", inputs={"income": SECRET}, outputs={"default": 0.1}, join_key=key, version="1.0")
    log("loans", feedback={"repaid": True, "why": SECRET}, join_key="loan_17")
    log("loans", feedback={"repaid": False}, join_key="19", source="crm")
    log("loans", feedback={"x": 1}, join_key="loan_18", event_id="torn")
    assert stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("loan_18"), "feedback:torn", f"rubbish {SECRET}")
    stack.drain()
    # An interval that no drain of this test is late for.
    settings = structs.replace(stack.settings, interval_s=86_400)
    return TestClient(app(Desk(settings=settings)), base_url="http://127.0.0.1")


def held(stack: Stack) -> dict[bytes, bytes]:
    """All that Redis holds."""
    return {key: stack.server.dump(key) for key in stack.server.scan_iter()}


def page(visitor: TestClient, path: str, **parameters: str) -> Page:
    answer = visitor.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def test_the_overview_is_the_table_of_status(visitor: TestClient, cli: Cli) -> None:
    """Books to the unit, findings to the letter."""
    found = page(visitor, "/")
    assert found.tables["books"][1] == ["loans", "6", "5", "0", "1", "0", "0", "0", "0"]
    told = json.loads(cli("status", "--json", JOINBACK_INTERVAL_S="86400").stdout)
    for finding in told["findings"]:
        assert finding["says"] in found.said
    for finding in told["applications"]["loans"]["findings"]:
        assert finding["says"] in found.said
    assert "As of" in found.said


def test_a_key_is_explained_in_the_words_of_the_command(visitor: TestClient, cli: Cli) -> None:
    """Verdict, timeline and the same by hand; what services logged only where it is asked for."""
    found = page(visitor, "/key", application="loans", join_key="loan_17")
    told = json.loads(cli("explain", "loans", "loan_17", "--json").stdout)
    assert told["says"] in found.said
    for moment in told["timeline"]:
        assert moment["what"] in found.said
    for line in told["by_hand"]:
        assert " ".join(line.split()) in found.said
    assert SECRET not in found.text
    asked = page(visitor, "/key", application="loans", join_key="loan_17", payloads="shown")
    assert SECRET in asked.said
    assert ["version", "1.0"] in asked.tables["row"]


def test_a_key_that_nobody_knows_has_near_ones(visitor: TestClient) -> None:
    """Each is a link to its own page."""
    found = page(visitor, "/key", application="loans", join_key="loan_171")
    links = [one["href"] for one in found.all("a") if "join_key=" in one["href"]]
    assert any("join_key=loan_17" in link for link in links)


def test_dead_letters_and_orphans_by_reason(visitor: TestClient, cli: Cli) -> None:
    """Groups with their advice, the newest with a link to their key, and orphans by the form that would match."""
    found = page(visitor, "/dead", application="loans")
    assert "undecodable" in found.said
    assert any("join_key=loan_18" in one["href"] for one in found.all("a"))
    assert SECRET not in found.text
    told = json.loads(cli("orphans", "loans", "--json").stdout)
    forms = {row[0]: row for row in found.tables["forms"][1:]}
    for group in told["groups"]:
        assert forms[group["how"] or "no form that was tried"][1] == str(group["matches"])


def test_doctor_says_what_doctor_says_and_writes_nothing(visitor: TestClient, stack: Stack, cli: Cli) -> None:
    """Every line of `joinback doctor` but those it finds out by writing; Redis and the sink stay as they are."""
    told = json.loads(cli("doctor", "--json", JOINBACK_INTERVAL_S="86400").stdout)
    file = stack.folder / "joinback.db"
    before, keys = file.read_bytes(), held(stack)
    found = page(visitor, "/doctor")
    assert file.read_bytes() == before
    assert held(stack) == keys
    for one in told["tried"]:
        if one["area"] in ("settings", "rules", "workers", "applications"):
            assert one["says"] in found.said


@pytest.mark.parametrize("path", ["/dead", "/key"])
def test_an_application_that_nobody_announced(visitor: TestClient, path: str) -> None:
    """404, and the nearest name as a link."""
    answer = visitor.get(path, params={"application": "loan", "join_key": "a"})
    assert answer.status_code == 404
    assert "Did you mean loans ?" in Page(answer.text).said


def test_keys_that_are_markup_are_text(visitor: TestClient, stack: Stack) -> None:
    """A join key, an event id or a reason that somebody else chose cannot add an element."""
    evil = "<img src=x onerror=alert(1)>\"'"
    stack.client.log_record("loans", feedback={evil: evil}, join_key=evil, event_id="i<u>", source=evil)
    stack.drain()
    for path in ("/key", "/dead", "/"):
        found = page(visitor, path, application="loans", join_key=evil, payloads="shown")
        assert not found.all("img")
        assert not found.all("u")
        assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert evil in page(visitor, "/key", application="loans", join_key=evil).said


def test_the_stores_are_asked_and_left_as_they_are(visitor: TestClient, stack: Stack) -> None:
    """No page writes a key: what Redis holds afterwards is what it held before."""
    before = held(stack)
    assert before[wire.APPLICATIONS_KEY.encode()]
    for path in ("/", "/dead", "/key", "/application"):
        page(visitor, path, application="loans", join_key="loan_17")
    assert held(stack) == before
