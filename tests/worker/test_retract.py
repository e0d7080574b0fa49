"""`joinback retract`: what it finds, what it says before, what the rows say after, and that it can be taken back."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack, process_environment
from engines import ENGINES, Engine
from events import NOON
from msgspec import Raw, structs
from ruled import file, reducing

from joinback import wire
from joinback_worker.by_hand.event_filter import condition

ADS = reducing(clicks="sum")


class Shop:
    """One application, its command and its sink."""

    def __init__(self, stack: Stack, cli: Cli, engine: Engine, url: str) -> None:
        self.stack = stack
        self.config = file(stack.folder, ads=ADS)
        self.settings = structs.replace(stack.settings, sink_url=url, config=self.config)
        self.cli = cli
        self._engine = engine

    def log(self, key: str, clicks: Any, event_id: str, **event: Any) -> None:
        self.stack.client.log_record("ads", feedback={"clicks": clicks}, join_key=key, event_id=event_id, **event)

    def predict(self, *keys: str) -> None:
        for key in keys:
            self.stack.client.log_record("ads", inputs=1, outputs=1, join_key=key, timestamp=NOON)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.cli(*arguments, JOINBACK_SINK_URL=self.settings.sink_url, JOINBACK_CONFIG=self.config)

    def drain(self) -> None:
        assert self.stack.client.flush(PATIENCE_S)
        done = self.run("drain")
        assert done.returncode == 0, done

    def retract(self, *arguments: str) -> dict[str, Any]:
        """Retract, and drain. Return what the command says."""
        done = self.run("retract", "ads", *arguments, "--yes", "--json")
        assert done.returncode in (0, 1), done
        self.drain()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def rows(self) -> dict[str, dict[str, Any]]:
        return self._engine.rows(self.settings.sink_url, self.settings)

    def feedback(self) -> dict[str, Any]:
        return {key: row["feedback"] for key, row in self.rows().items()}


@contextmanager
def shop_on(engine: str, stack: Stack, cli: Cli, tmp_path: Path) -> Iterator[Shop]:
    with ENGINES[engine].place(tmp_path) as url:
        yield Shop(stack, cli, ENGINES[engine], url)


OTHERS = [pytest.param(name, marks=pytest.mark.heavy) for name in ("postgresql", "jsonl", "parquet")]


@pytest.fixture(params=["sqlite", *OTHERS])
def shop(request: pytest.FixtureRequest, stack: Stack, cli: Cli, tmp_path: Path) -> Iterator[Shop]:
    with shop_on(request.param, stack, cli, tmp_path) as shop:
        yield shop


@pytest.fixture
def here(stack: Stack, cli: Cli, tmp_path: Path) -> Iterator[Shop]:
    with shop_on("sqlite", stack, cli, tmp_path) as shop:
        yield shop


def test_one_wrong_event(shop: Shop) -> None:
    """Clicks 3, 400 and 2, the 400 taken back: the sum is 5, and the history still has all three."""
    shop.predict("a")
    for number, clicks in enumerate((3, 400, 2)):
        shop.log("a", clicks, f"click_{number}")
    shop.drain()
    assert shop.feedback() == {"a": {"clicks": 405}}
    done = shop.run("retract", "ads", "--event-id", "click_1", "--yes")
    assert done.returncode == 0, done
    assert "  a  clicks  405 -> 5\n" in done.stdout
    assert "1 rows change; values that change: clicks 1" in done.stdout
    shop.drain()
    row = shop.rows()["a"]
    assert row["feedback"] == {"clicks": 5}
    assert {f"feedback:click_{number}" for number in range(3)} < set(row["feedback_events"])


def test_a_bad_batch_and_its_receipt(shop: Shop) -> None:
    """A batch of 1,000 labels is taken back by its tag; its receipt brings it back, and that has a receipt, too."""
    keys = [f"ad_{number}" for number in range(1_000)]
    shop.predict(*keys)
    for key in keys:
        shop.log(key, 1, "good", tags={"batch": "monday"})
        shop.log(key, 10, "bad", tags={"batch": "tuesday"})
    shop.drain()
    assert set(map(str, shop.feedback().values())) == {"{'clicks': 11}"}
    taken = shop.retract("--where", "tags.batch=tuesday")
    assert (taken["events"], taken["rows"], taken["rows_changed"]) == (1_000, 1_000, 1_000)
    assert (taken["values_changed"], taken["written"], taken["already"]) == ({"clicks": 1_000}, 1_000, 0)
    assert set(map(str, shop.feedback().values())) == {"{'clicks': 1}"}
    assert all("feedback:bad" in row["feedback_events"] for row in shop.rows().values())
    # The receipt is the event id of each retraction.
    assert all(f"retraction:{taken['receipt']}" in row["feedback_events"] for row in shop.rows().values())

    undone = shop.retract("--undo", taken["receipt"])
    assert (undone["rows_changed"], undone["written"]) == (1_000, 1_000)
    assert set(map(str, shop.feedback().values())) == {"{'clicks': 11}"}
    shop.retract("--undo", undone["receipt"])
    assert set(map(str, shop.feedback().values())) == {"{'clicks': 1}"}


def test_events_of_several_drains(shop: Shop) -> None:
    """The events of one row that came in several drains are all found, each once, and taken back in one go."""
    shop.predict("a")
    for number in range(3):
        shop.log("a", 10**number, f"x{number}", source="model" if number else "human")
        shop.drain()
    taken = shop.retract("--source", "model")
    assert (taken["events"], taken["rows"], taken["written"]) == (2, 1, 1)
    assert shop.feedback() == {"a": {"clicks": 1}}


def test_an_undo_is_done_once(here: Shop) -> None:
    """What was undone is not undone again; a receipt that nobody gave is nothing to undo. Both are exit code 1."""
    here.predict("a")
    here.log("a", 3, "x")
    here.drain()
    receipt = here.retract("--event-id", "x")["receipt"]
    assert here.retract("--undo", receipt)["written"] == 1
    again = here.retract("--undo", receipt)
    assert (again["written"], again["already"], again["receipt"]) == (0, 1, None)
    done = here.run("retract", "ads", "--undo", "retract-1", "--yes")
    assert done.returncode == 1
    assert "receipt retract-1: 0 retractions to undo" in done.stdout
    assert here.feedback() == {"a": {"clicks": 3}}


def test_a_dry_run_writes_nothing(here: Shop) -> None:
    """--dry-run says what would change, and neither Redis nor the sink hold anything more than before."""
    here.predict("a")
    here.log("a", 3, "x", source="model")
    here.drain()
    before = here.stack.books().received
    done = here.run("retract", "ads", "--source", "model", "--dry-run", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["events"], answer["values_changed"]) == (0, 1, {"clicks": 1})
    assert (answer["written"], answer["receipt"], answer["dry_run"]) == (0, None, True)
    assert here.stack.books().received == before
    assert here.run("retract", "ads", "--source", "human", "--dry-run").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "choose the events"),
        (("--field", "clicks"), "choose the events"),
        (("--where", "batch=1"), "is not a condition; write tags.NAME="),
        (("--where", "tags.batch"), "is not a condition"),
        (("--between", "2026-11-24", "2026-11-23"), "A must be before B"),
        (("--between", "monday", "tuesday"), "'monday' is not a time"),
        (("--undo", "retract-1", "--key", "a"), "leave the other conditions out"),
    ],
)
def test_what_is_no_filter_is_refused(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    """An empty filter, a mistyped one, and one that nothing can fit: one line, and nothing is looked at."""
    done = cli("retract", "ads", *arguments, "--yes")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert says in done.stderr


def test_one_field_of_an_event(here: Shop) -> None:
    """With --field only this field of the event is taken back; what else it told counts."""
    here.predict("a", "b")
    here.stack.client.log_record("ads", feedback={"clicks": 9, "bought": True}, join_key="a", event_id="x")
    here.stack.client.log_record("ads", feedback={"bought": True}, join_key="b", event_id="x")
    here.drain()
    taken = here.retract("--field", "clicks", "--event-id", "x")
    assert (taken["events"], taken["values_changed"]) == (1, {"clicks": 1})
    assert here.feedback() == {"a": {"bought": True}, "b": {"bought": True}}
    # The other field can be taken back later, and the same one is told as done.
    again = here.retract("--field", "clicks", "--event-id", "x")
    assert (again["events"], again["already"], again["receipt"]) == (0, 1, None)
    assert here.retract("--field", "bought", "--event-id", "x", "--key", "a")["events"] == 1
    assert here.feedback() == {"a": None, "b": {"bought": True}}


def test_between(here: Shop) -> None:
    """--between A B holds for an event at A, and not for one at B."""
    here.predict("a")
    for number in range(4):
        here.log("a", 10**number, f"x{number}", timestamp=NOON + timedelta(seconds=number))
    here.drain()
    begin, end = (NOON + timedelta(seconds=1)).isoformat(), "2026-11-23T14:00:03+02:00"
    assert here.retract("--between", begin, end)["events"] == 2
    assert here.feedback() == {"a": {"clicks": 1001}}


def test_all_conditions_must_hold(here: Shop) -> None:
    """Of several conditions each must hold; of several keys or event ids one."""
    here.predict("a", "b", "c")
    for key in "abc":
        here.log(key, 5, "x", version="2", tags={"batch": 7, "by": "7"}, source="model" if key != "c" else "human")
        here.log(key, 6, "y", version="1", tags={"batch": 8})
    here.drain()
    for arguments, events in [
        (("--source", "model"), 2),
        (("--source", "model", "--where", "version=2", "--where", "tags.batch=7", "--key", "a", "--key", "c"), 1),
        (("--where", "tags.batch=7", "--where", "tags.batch=8"), 0),
        (("--where", "feedback.clicks=6.0"), 3),
        (("--event-id", "x", "--event-id", "y", "--key", "b"), 2),
        (("--key", "nobody"), 0),
    ]:
        done = here.run("retract", "ads", *arguments, "--dry-run", "--json")
        assert json.loads(done.stdout)["events"] == events, arguments


@pytest.mark.parametrize(
    ("given", "value", "fits"),
    [
        ("1", "1", True), ("1", '"1"', True), ("1", "1.0", True), ("1", "true", False), ("true", "true", True),
        ("true", "1", False), ("null", "null", True), ("", '""', True), ("a=b", '"a=b"', True), ("[1]", "[1]", True),
        ("x", '"X"', False),
    ],
)  # fmt: skip
def test_a_value_fits_as_text_or_as_json(given: str, value: str, fits: bool) -> None:
    """A condition's value fits what is this text, or is this JSON; true is no 1."""
    event = wire.Feedback(v=1, at=NOON, logged_at=NOON, feedback={"f": Raw(value.encode())})
    assert condition(f"feedback.f={given}").holds(event) is fits


def test_what_waits_in_redis_is_told(here: Shop) -> None:
    """Events that are not drained yet are not found, and the command says that there are some."""
    here.predict("a")
    here.log("a", 3, "x")
    here.drain()
    here.log("a", 4, "x2")
    assert here.stack.client.flush(PATIENCE_S)
    done = here.run("retract", "ads", "--key", "a", "--dry-run")
    assert "1 feedback events of 1 rows" in done.stdout
    assert "1 events are not drained yet and are left out; run joinback drain first" in done.stdout


def test_an_undo_overrules_a_clock_that_is_ahead(here: Shop) -> None:
    """A receipt of a host whose clock is minutes ahead can be taken back at once; of hours, it is told."""
    here.predict("a", "b")
    here.log("a", 3, "x")
    here.log("b", 3, "x")
    here.drain()
    ahead = wire.Retraction(v=2, at=NOON, logged_at=NOON, event_ids=["x"])
    now = datetime.now(UTC)
    for key, receipt, minutes in (("a", "soon", 4), ("b", "far", 60)):
        time = now + timedelta(minutes=minutes)
        event = structs.replace(ahead, at=time, logged_at=time)
        here.stack.server.eval(
            wire.WRITE_SCRIPT, 4, *wire.write_keys(wire.tag("ads"), [key]),
            *wire.write_arguments(wire.tag("ads"), 3600, [(f"retraction:{receipt}", wire.encode(event))]),
        )  # fmt: skip
    here.drain()
    assert here.feedback() == {"a": None, "b": None}
    here.retract("--undo", "soon")
    assert here.feedback() == {"a": {"clicks": 3}, "b": None}
    done = here.run("retract", "ads", "--undo", "far", "--yes")
    assert done.returncode == 2
    assert "ahead of this one" in done.stderr


def test_a_full_row_is_left_out(here: Shop) -> None:
    """A row that holds as many events as a row takes has no place for a retraction: it is told, not tried."""
    here.predict("a", "b")
    # Redis counts the prediction, too.
    for number in range(wire.RECORD_EVENTS_MAX - 1):
        here.log("a", 1, f"x{number}", source="model")
    here.log("b", 1, "x", source="model")
    here.drain()
    done = here.run("retract", "ads", "--source", "model", "--yes")
    assert "1 rows are left out, as they hold 1,000 events and are full" in done.stdout
    assert "1 feedback events of 1 rows" in done.stdout
    here.drain()
    assert here.feedback() == {"a": {"clicks": 999}, "b": None}
    assert not here.stack.dead("ads")


def test_without_a_terminal_nothing_is_written(here: Shop) -> None:
    """Where nobody can be asked and --yes is not given, nothing is written."""
    here.predict("a")
    here.log("a", 3, "x")
    here.drain()
    done = here.run("retract", "ads", "--key", "a")
    assert done.returncode == 2
    assert "--yes writes without asking" in done.stderr
    assert here.stack.books().pending == 0


@pytest.mark.parametrize(("answer", "code", "pending"), [(b"n\n", 130, 0), (b"y\n", 0, 1)])
def test_a_terminal_is_asked(here: Shop, answer: bytes, code: int, pending: int) -> None:
    """On a terminal the command asks, and writes only after a yes."""
    here.predict("a")
    here.log("a", 3, "x")
    here.drain()
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [sys.executable, "-m", "joinback_worker", "retract", "ads", "--key", "a"],
            stdin=theirs, env=process_environment(here.settings), capture_output=True, timeout=PATIENCE_S,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code, done
    assert b"take back 1 events on 1 rows?" in done.stderr
    assert here.stack.books().pending == pending


def test_what_redis_does_not_take_is_told(here: Shop) -> None:
    """If Redis takes only some of the retractions: exit code 2, how many, and the receipt that takes those back."""
    here.predict("a", "b")
    here.log("a", 3, "x")
    here.log("b", 3, "x")
    here.drain()
    here.stack.server.delete(here.stack.record("b", "ads"))
    here.stack.server.set(here.stack.record("b", "ads"), "somebody's", ex=60)
    done = here.run("retract", "ads", "--event-id", "x", "--yes")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert "1 of 2 events reached Redis, and no more, wrong_type 1" in line
    receipt = line.rpartition(" ")[2]
    here.stack.server.delete(here.stack.record("b", "ads"))
    here.drain()
    assert here.feedback() == {"a": None, "b": {"clicks": 3}}
    assert here.retract("--undo", receipt)["written"] == 1
    assert here.feedback() == {"a": {"clicks": 3}, "b": {"clicks": 3}}


def test_outside_the_sample(here: Shop) -> None:
    """What the client would drop as outside the published sample is told before anything is written."""
    here.predict("a", "b", "c")
    for key in "abc":
        here.log(key, 3, "x")
    here.drain()
    assert here.run("sample-rate", "ads", "0.000001").returncode == 0
    done = here.run("retract", "ads", "--event-id", "x", "--yes")
    assert done.returncode == 2
    assert "3 join keys are outside the published sample of 1e-06" in done.stderr
    assert here.stack.books().pending == 0


def test_workers_with_other_rules_are_told(here: Shop) -> None:
    """If the workers fold by another file, what would change is told with that."""
    here.predict("a")
    here.log("a", 3, "x")
    here.drain()
    done = here.cli("retract", "ads", "--key", "a", "--dry-run", JOINBACK_SINK_URL=here.settings.sink_url)
    assert "folds by other rules" in done.stdout
    assert "folds by other rules" not in here.run("retract", "ads", "--key", "a", "--dry-run").stdout


def test_another_sink_is_not_searched(here: Shop, tmp_path: Path) -> None:
    """A sink that the rows do not go to is refused: what is found there is not what there is."""
    here.predict("a")
    here.log("a", 3, "x")
    here.drain()
    done = here.cli("retract", "ads", "--key", "a", "--yes", JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 2
    assert "joinback sink adopt" in done.stderr


def test_a_mistyped_application(here: Shop) -> None:
    """An application that nobody logs under is told with the nearest name."""
    here.predict("a")
    here.drain()
    done = here.run("retract", "ad", "--key", "a", "--yes")
    assert (done.returncode, done.stderr) == (2, "joinback: no application ad; did you mean ads?\n")
