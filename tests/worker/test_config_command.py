"""`joinback config`: what holds and where it is said, and a first file from the rows that are there."""

import json
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack
from engines import ENGINES
from events import NOON
from msgspec import structs
from ruled import file

from joinback.settings import Settings
from joinback_worker.by_hand.config_draft import draft
from joinback_worker.config.rules_file import look
from joinback_worker.sinks import lookups

TEXT = """
[applications.ads]
sample_rate = 0.5
maturity_s = 3600
labels = ["bought"]

[applications.ads.feedback.bought]
type = "bool"
default = false

[applications.ads.feedback."we ird"]
type = ["a",
  "b"]
maturity_s = 60

[applications.adz]
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "joinback.toml").write_text(TEXT)
    return str(tmp_path / "joinback.toml")


def test_what_holds_and_where_it_is_said(path: str, cli: Cli) -> None:
    """Each value with its line, the variable that says it, or `default`; and the digest that `status` names."""
    done = cli("config", "check", "--json", JOINBACK_CONFIG=path, JOINBACK_JOIN_WINDOW_S="86400")
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    held = {one["name"]: (one["value"], one["said"]) for one in answer["applications"]["ads"]["holds"]}
    assert held == {
        "join_window_s": (86400, "JOINBACK_JOIN_WINDOW_S"),
        "sample_rate": (0.5, "line 3"),
        "maturity_s": (3600, "line 4"),
        "labels": (["bought"], "line 5"),
        "feedback.bought.type": ("bool", "line 8"),
        "feedback.bought.reducer": ("last", "default"),
        "feedback.bought.maturity_s": (3600, "line 4"),
        "feedback.bought.default": (False, "line 9"),
        "feedback.we ird.type": (["a", "b"], "line 13"),
        "feedback.we ird.reducer": ("last", "default"),
        "feedback.we ird.maturity_s": (60, "line 14"),
    }
    config, _ = look(Settings(config=path, join_window_s=86400))
    assert answer["applications"]["ads"]["digest"] == config.rules_of("ads").digest
    assert answer["otherwise"]["digest"] == config.rules_of("anything").digest
    assert (answer["problems"], answer["config"]) == ([], path)


def test_it_is_shown(stack: Stack, cli: Cli, path: str) -> None:
    """The same as lines, with the applications that have no rules, and names that nobody logs under."""
    for application in ("ads", "ad", "loans"):
        stack.client.log_record(application, inputs=1, outputs=1, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    done = cli("config", "check", JOINBACK_CONFIG=path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == path
    assert [" ".join(line.split()) for line in lines if "default = false" in line] == [
        "feedback.bought.default = false line 9"
    ]
    assert "without rules of their own: ad, loans" in lines
    assert "adz has not logged yet; did you mean ad?" in lines


def test_it_needs_no_redis_and_no_file(cli: Cli, path: str) -> None:
    """Without Redis only the names are not compared; without a file it says that the same holds for all."""
    done = cli("config", "check", JOINBACK_CONFIG=path, JOINBACK_REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 0, done
    assert "Redis did not say which applications exist: redis://127.0.0.1:1/0: no connection" in done.stdout
    done = cli("config", "check")
    assert done.returncode == 0
    assert done.stdout.startswith("JOINBACK_CONFIG is not set: the same rules hold for all applications\nall  rules ")


def test_all_mistakes_at_once(cli: Cli, tmp_path: Path) -> None:
    """Every mistake is one line with its place, and the exit code is 2; a file that is no TOML is one line as well."""
    path = tmp_path / "joinback.toml"
    path.write_text(
        '[applications.ads]\nmaturty_s = 1\n\n[applications.ads.feedback.a]\ntype = "boolean"\nmaturity_s = 0\n'
    )
    done = cli("config", "check", JOINBACK_CONFIG=str(path))
    assert (done.returncode, done.stdout) == (2, "")
    *problems, last = done.stderr.splitlines()
    assert [problem.partition(" applications")[0] for problem in problems] == [
        f"{path}, line {line}:" for line in (2, 5, 6)
    ]
    assert last == "joinback: no worker starts with this file"
    done = cli("config", "check", "--json", JOINBACK_CONFIG=str(path))
    assert (done.returncode, len(json.loads(done.stdout)["problems"])) == (2, 3)
    path.write_text("[applications.ads\n")
    done = cli("config", "check", JOINBACK_CONFIG=str(path))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "is not valid TOML" in done.stderr
    assert "line 1" in done.stderr


def test_a_long_file_is_read_once(tmp_path: Path) -> None:
    """The lines of all keys of a long file are found by parsing each statement once."""
    applications = {f"a{n}": {"feedback": {f"f{m}": {"strict": True} for m in range(10)}} for n in range(200)}
    path = file(tmp_path, **applications)
    lines = Path(path).read_text().splitlines()
    _, problems = look(Settings(config=path))
    places = [int(problem.partition("line ")[2].partition(":")[0]) for problem in problems]
    assert places == [number for number, line in enumerate(lines, 1) if line == "strict = true"]


# --- a first file ----------------------------------------------------------------------------------------------


def log_ads(stack: Stack) -> None:
    for n in range(60):
        stack.client.log_record("ads", inputs=1, outputs=1, join_key=f"k{n:02}", timestamp=NOON)
        told: dict[str, Any] = {
            "bought": n % 3 == 0,
            "segment": "ABC"[n % 3] + '"\x7f\\',
            "note": f"private {n}",
            "prose": "private, " + "x" * 32 + "ab"[n % 2],
            "amount": 3.5 if n else 2,
            "drifted": True if n else "true",
            "mixed": 1 if n else "x",
            "rounded": 2 if n else 3.0,
            "we ird.ü\n": None if n else {"a": 1},
        }
        late = NOON + timedelta(hours=n)
        stack.client.log_record("ads", feedback=told, join_key=f"k{n:02}", timestamp=late)
    for n in range(3):
        stack.client.log_record("ads", feedback={"wrong": n}, join_key="k00", event_id="w", timestamp=NOON)
    stack.client.retract("ads", "k00", event_ids=["w"])
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="k00")
    assert stack.client.flush(PATIENCE_S)


@pytest.fixture(params=["sqlite", "postgresql", "jsonl", "parquet"])
def filled(request: pytest.FixtureRequest, stack: Stack, cli: Cli, tmp_path: Path) -> Iterator[Settings]:
    with ENGINES[request.param].place(tmp_path) as url:
        log_ads(stack)
        assert cli("drain", JOINBACK_SINK_URL=url).returncode == 0
        yield structs.replace(stack.settings, sink_url=url)


def test_a_first_file(filled: Settings, cli: Cli, tmp_path: Path) -> None:
    """The draft declares each field with the type that takes all its values, is right, and holds no text of a note."""
    done = cli("config", "init", "ads", "--output", "first.toml", JOINBACK_SINK_URL=filled.sink_url)
    assert done.returncode == 0, done
    text = (tmp_path / "first.toml").read_text()
    fields = tomllib.loads(text)["applications"]["ads"]["feedback"]
    assert {name: field.get("type") for name, field in fields.items()} == {
        "bought": "bool",
        "segment": [letter + '"\x7f\\' for letter in "ABC"],
        "note": "str",
        "prose": "str",
        "amount": "float",
        "drifted": "bool",
        "mixed": "str",
        "rounded": "float",
        "we ird.ü\n": None,
    }
    assert "private" not in text
    assert "# 60 values: false 40, true 20\n" in text
    assert "# 60 values: float 59, int 1\n" in text
    assert "# They have several JSON types" in text
    # 57 hours, in steps of 2 %: of the p95, not of the longest.
    assert "95% of the values came within 2.3 days" in text or "95% of the values came within 2.4 days" in text
    checked = cli("config", "check", JOINBACK_CONFIG="first.toml")
    assert (checked.returncode, checked.stderr) == (0, "")
    # What is commented out is right, too.
    (tmp_path / "all.toml").write_text(
        "\n".join(
            line.removeprefix("# ") if line.startswith(("# default", "# maturity_s", "# type", "# join_w")) else line
            for line in text.splitlines()
        )
    )
    checked = cli("config", "check", JOINBACK_CONFIG="all.toml")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_no_file_is_overwritten(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A file that is there stays as it is; without --output the draft is printed."""
    log_ads(stack)
    stack.drain()
    (tmp_path / "first.toml").write_text("mine")
    done = cli("config", "init", "ads", "--output", "first.toml")
    assert (done.returncode, done.stderr) == (2, "joinback: first.toml exists already; give another name\n")
    assert (tmp_path / "first.toml").read_text() == "mine"
    assert tomllib.loads(cli("config", "init", "ads").stdout)["applications"]
    done = cli("config", "init", "ads", "--output", "nowhere/first.toml")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_so_many_rows(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """--rows ends the look, and the draft says that there are more; they are looked up part by part."""
    monkeypatch.setattr(lookups, "KEYS", 7)
    log_ads(stack)
    stack.drain()
    text = draft(stack.settings, "ads", 10)
    assert "from 10 labelled rows (there are more)" in text
    assert "# 10 values: false 6, true 4\n" in text
    # Ten remarks are no categories, though they are few.
    assert "private" not in text
    text = draft(stack.settings, "ads", 60)
    assert "from 60 labelled rows (all that there are)" in text
    assert "# 60 values: false 40, true 20\n" in text


def test_nothing_to_draft_from(stack: Stack, cli: Cli) -> None:
    """A sink that is not there yet, or has no feedback of the application: one line, and no file."""
    assert "does not exist yet" in cli("config", "init", "ads").stderr
    log_ads(stack)
    stack.drain()
    done = cli("config", "init", "adz")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "holds no feedback of 'adz' yet" in done.stderr
