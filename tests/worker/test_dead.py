"""Dead letters by the command: listed, shown, replayed through the normal path, dropped."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack, process_environment
from events import feedback
from ruled import file

from joinback import wire
from joinback.settings import Settings

TAG = wire.tag("loans")


def bury(stack: Stack, key: str = "loan_17") -> None:
    """A prediction that becomes a row, and a feedback whose bytes are torn and become a letter."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    stack.client.log_record("loans", feedback={"a": 1}, join_key=key, event_id="torn")
    stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record(key), "feedback:torn", '{"v":1,"at":\x1b[2J')
    assert stack.drain().dead == 1


def listed(cli: Cli, *options: str) -> list[dict[str, str]]:
    done = cli("dead", "list", "loans", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_empty_list_says_so(stack: Stack, cli: Cli) -> None:
    """Without letters `dead list` says so; for a reason that does not exist it names those that do."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    assert cli("dead", "list", "loans").stdout == "no dead letters of loans, and there never were\n"
    bury(stack)
    wrong = cli("dead", "list", "loans", "--reason", "nope")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "joinback: no dead letter of loans has the reason 'nope'; its reasons are undecodable\n",
    )
    said = cli("dead", "list", "loans", "--reason", "after_window").stdout
    assert said == "no dead letters of loans with the reason after_window, and there never were\n"


def test_list_and_show(stack: Stack, cli: Cli) -> None:
    """A letter is listed with its reason and shown with its bytes, escaped for the terminal."""
    bury(stack)
    (letter,) = listed(cli)
    assert (letter["join_key"], letter["event"], letter["reason"]) == ("loan_17", "feedback:torn", "undecodable")
    assert listed(cli, "--reason", "after_window") == []
    shown = cli("dead", "show", "loans", letter["id"])
    assert '{"v":1,"at":\\x1b[2J' in shown.stdout
    assert cli("dead", "list", "loans").stdout.count("undecodable") == 1
    missing = cli("dead", "show", "loans", "1-1")
    assert (missing.returncode, missing.stderr) == (2, "joinback: no dead letter 1-1; see joinback dead list loans\n")


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
@pytest.mark.parametrize("wrong", ["xx", "1-1", "99999999999999999999-0", "\u0661-1"])
def test_an_id_that_no_letter_has(stack: Stack, cli: Cli, command: str, wrong: str) -> None:
    """Show, replay and drop name an id that no letter has: exit code 2, and no letter is touched, not one beside it."""
    bury(stack)
    (letter,) = listed(cli)
    beside, options = ([], []) if command == "show" else ([letter["id"]], ["--yes"])
    done = cli("dead", command, "loans", *beside, wrong, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"joinback: no dead letter {wrong}; see joinback dead list loans\n"
    assert listed(cli) == [letter]


def test_replay_of_a_bad_event_ends_as_it_began(stack: Stack, cli: Cli) -> None:
    """What was undecodable is still: replayed and drained it is a letter again, and the books balance."""
    bury(stack)
    done = cli("dead", "replay", "loans", "--all")
    assert done.stdout == "replayed 1\n"
    assert done.stderr == ("joinback: undecodable: these bytes will fail again, unless a newer worker can read them\n")
    assert listed(cli) == []
    assert stack.drain().dead == 1
    assert len(listed(cli)) == 1
    assert stack.books().dead_by_reason == {"undecodable": 2}


def test_replay_of_late_feedback_after_the_window_was_widened(stack: Stack, cli: Cli) -> None:
    """A letter `after_window` joins once the window is wide enough and it is replayed; twice is once."""
    write_late(stack)
    assert stack.drain().dead == 1
    assert stack.server.hget(stack.record("loan_17"), "late:late").endswith(b"s after the join window")
    (letter,) = listed(cli, "--reason", "after_window")
    done = cli("dead", "replay", "loans", letter["id"], JOINBACK_JOIN_WINDOW_S="86400")
    assert done.stdout == "replayed 1\n"
    assert "JOINBACK_JOIN_WINDOW_S, here 86400 (1 days)" in done.stderr
    stack.drain(join_window_s=3 * 365 * 86_400)
    assert stack.row("loan_17")["feedback"] == '{"repaid":true}'
    assert listed(cli) == []
    assert f"no dead letter {letter['id']}" in cli("dead", "replay", "loans", letter["id"]).stderr


def test_the_window_of_a_replay_is_the_applications(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Late feedback is told with the window that holds for its application, and the line of the file that says so."""
    write_late(stack)
    assert stack.drain().dead == 1
    declared = file(tmp_path, loans={"join_window_s": 172_800})
    said = cli("dead", "replay", "loans", "--all", JOINBACK_CONFIG=declared).stderr
    assert f"{declared}, line 2: applications.loans.join_window_s, here 172800 (2 days)" in said
    assert "JOINBACK_JOIN_WINDOW_S" not in said
    for other in (file(tmp_path, ads={"join_window_s": 172_800}), file(tmp_path, loans={"sample_rate": 0.5})):
        stack.drain()
        said = cli("dead", "replay", "loans", "--all", JOINBACK_CONFIG=other).stderr
        assert "JOINBACK_JOIN_WINDOW_S, here 15552000 (180 days)" in said


def test_a_replay_takes_the_late_mark_away(stack: Stack, cli: Cli) -> None:
    """Replayed late feedback that is still too late is told once more: its mark has gone with the letter."""
    write_late(stack)
    assert stack.drain().dead == 1
    assert stack.server.hexists(stack.record("loan_17"), "late:late")
    assert cli("dead", "replay", "loans", "--all").stdout == "replayed 1\n"
    assert not stack.server.hexists(stack.record("loan_17"), "late:late")
    assert (listed(cli), stack.drain().dead, len(listed(cli))) == ([], 1, 1)


def write_late(stack: Stack) -> None:
    """A prediction, and feedback a year after it."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    late = feedback(0, repaid=True).replace(b"2026-11-23", b"2027-11-23")
    keys = wire.write_keys(TAG, ["loan_17"])
    stack.client.flush(PATIENCE_S)
    stack.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments(TAG, 600, [("feedback:late", late)]))


def test_what_has_no_bytes_is_kept(stack: Stack, cli: Cli) -> None:
    """A record that was gone cannot be replayed: the letter stays, and says so."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.flush(PATIENCE_S)
    stack.server.delete(stack.record("loan_17"))
    stack.drain()
    assert cli("dead", "replay", "loans", "--all").stdout == "replayed 0, kept 1 whose bytes are gone\n"
    assert len(listed(cli)) == 1


def test_drop(stack: Stack, cli: Cli) -> None:
    """Dropped letters are gone from the list and stay on the books."""
    bury(stack, "a")
    bury(stack, "b")
    assert cli("dead", "drop", "loans", listed(cli)[0]["id"]).stdout == "dropped 1\n"
    assert cli("dead", "drop", "loans", "--reason", "undecodable").stdout == "dropped 1\n"
    assert listed(cli) == []
    assert stack.books().dead == 2


def test_drop_of_all_asks_at_a_terminal(stack: Stack, settings: Settings) -> None:
    """A person at a terminal is asked before all letters are deleted; `--yes`, and a script, are not."""
    bury(stack)
    environment = process_environment(settings)
    command = [sys.executable, "-m", "joinback_worker", "dead", "drop", "loans", "--all"]
    for answer, code, left in ((b"n\n", 130, 1), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        with subprocess.Popen(command, env=environment, stdin=theirs, stdout=subprocess.PIPE) as process:
            os.write(ours, answer)
            assert process.wait(PATIENCE_S) == code
        os.close(ours)
        os.close(theirs)
        assert stack.server.xlen(wire.dead_key(TAG)) == left
    bury(stack, "again")
    ours, theirs = pty.openpty()
    assert subprocess.run([*command, "--yes"], env=environment, stdin=theirs, timeout=PATIENCE_S).returncode == 0
    os.close(ours)
    os.close(theirs)
    assert stack.server.xlen(wire.dead_key(TAG)) == 0


@pytest.mark.parametrize("arguments", [(), ("1-1", "--all"), ("--all", "--reason", "x")])
def test_the_choice_must_be_plain(stack: Stack, cli: Cli, arguments: tuple[str, ...]) -> None:
    """Replay and drop act on ids, or a reason, or all: never on a guess."""
    for command in ("replay", "drop"):
        done = cli("dead", command, "loans", *arguments)
        assert (done.returncode, done.stderr) == (
            2,
            "joinback: choose the letters by their ids, by --reason, or by --all\n",
        )


def test_letters_by_reason(stack: Stack, cli: Cli) -> None:
    """The list groups them: how many there are and were, whether a replay would help, and the newest of each."""
    for key in ("a", "b", "c"):
        bury(stack, key)
    assert cli("dead", "drop", "loans", listed(cli)[0]["id"]).returncode == 0
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="gone")
    assert stack.client.flush(PATIENCE_S)
    stack.server.delete(stack.record("gone"))
    stack.drain()
    shown = cli("dead", "list", "loans", "--limit", "1").stdout
    groups = [line for line in shown.splitlines() if not line.startswith(" ")]
    assert [group.partition(", expire")[0] for group in groups] == [
        "record_missing  1 now, 1 ever, 0 can be replayed",
        "undecodable  2 now, 3 ever, 2 can be replayed",
    ]
    assert "a replay fails again, unless a newer worker can read these bytes" in shown
    assert "and 1 older ones: --limit 0" in shown
    assert "older ones" not in cli("dead", "list", "loans", "--limit", "0").stdout


def test_some_before_all(stack: Stack, cli: Cli) -> None:
    """A replay can be tried with the oldest letters first."""
    for key in ("a", "b"):
        bury(stack, key)
    oldest, newest = listed(cli)
    assert cli("dead", "replay", "loans", "--all", "--limit", "1").stdout == "replayed 1\n"
    assert [letter["id"] for letter in listed(cli)] == [newest["id"]]
    assert oldest["join_key"] == "a"


@pytest.mark.parametrize("action", ["replay", "drop"])
def test_a_reason_that_no_letter_has(stack: Stack, cli: Cli, action: str) -> None:
    """A mistyped reason is an error that names what was meant, or what exists; a known one without letters is not."""
    bury(stack)
    for reason, says in (("undecodeable", "did you mean undecodable?"), ("typo", "its reasons are undecodable")):
        done = cli("dead", action, "loans", "--reason", reason)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"joinback: no dead letter of loans has the reason {reason!r}; {says}\n"
    done = cli("dead", action, "loans", "--reason", "sink_refused")
    assert (done.returncode, done.stdout) == (0, f"{action.replace('drop', 'dropp')}ed 0\n")
    assert len(listed(cli)) == 1


def test_a_command_in_a_letter_names_the_application(stack: Stack, cli: Cli) -> None:
    """The writer of a letter does not know its application; whoever shows the letter puts the name in."""
    stack.client.log_record("my loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    stack.drain()
    detail = "column status of the sink's row is empty: mend it, then joinback dead replay APPLICATION --reason x"
    letter = {"key": "b", "event": "feedback:f", "reason": "sink_refused", "detail": detail}
    dead = wire.dead_key(wire.tag("my loans"))
    letter_id = stack.server.xadd(dead, letter).decode()
    stack.server.expire(dead, 600)
    stack.server.hincrby(wire.stats_key(wire.tag("my loans")), "received:feedback", 1)
    stack.server.hincrby(wire.stats_key(wire.tag("my loans")), "dead:sink_refused", 1)
    for command in (
        ("dead", "list", "my loans"),
        ("dead", "list", "my loans", "--json"),
        ("dead", "show", "my loans", letter_id),
        ("explain", "my loans", "b"),
    ):
        shown = cli(*command).stdout
        assert "joinback dead replay 'my loans' --reason x" in shown, command
        assert "APPLICATION" not in shown


def test_there_is_nothing_to_ask(stack: Stack) -> None:
    """At a terminal, where there is no dead letter, nobody is asked whether to delete none."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    stack.drain()
    terminal, its_end = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "joinback_worker", "dead", "drop", "loans", "--all"],
            stdin=its_end, capture_output=True, text=True, timeout=PATIENCE_S, env=process_environment(stack.settings),
        )  # fmt: skip
    finally:
        os.close(terminal)
        os.close(its_end)
    assert (done.returncode, done.stdout) == (0, "dropped 0\n")
