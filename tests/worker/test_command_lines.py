"""The lines of the command that messages name: a person can copy each of them, whatever the application's name."""

import json
import re
import shlex
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack

from joinback.command_line import command_line
from joinback_worker.errors import AlteredRow
from joinback_worker.operating.letters import named

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("client/joinback/**/*.py"), *ROOT.glob("worker/joinback_worker/**/*.py")]


@pytest.mark.parametrize(
    ("arguments", "options", "line"),
    [
        (["loans"], [], "joinback retract loans"),
        (["my loans"], ["--undo", "R"], "joinback retract 'my loans' --undo R"),
        (["-dash"], [], "joinback retract -- -dash"),
        (["-dash", "1"], ["--undo", "a b"], "joinback retract --undo 'a b' -- -dash 1"),
    ],
)
def test_a_line_is_quoted(arguments: list[str], options: list[str], line: str) -> None:
    """Names are quoted for a shell; one that begins with `-` stands behind `--`, and options stand before that."""
    assert command_line("retract", *arguments, options=options) == line


def test_a_line_in_the_detail_of_a_dead_letter() -> None:
    """The command in a letter's detail names the application, wherever its options must stand then."""
    detail = str(AlteredRow("feedback", "is no JSON"))
    assert named(detail, "loans").endswith(", then joinback dead replay loans --reason sink_refused")
    assert named(detail, "-dash").endswith(", then joinback dead replay --reason sink_refused -- -dash")


def test_every_line_with_a_name_is_made_at_one_place() -> None:
    """No message spells a command with a name in it by itself."""
    spelled = [
        f"{path.name}: {found.group()}"
        for path in SOURCES
        for found in re.finditer(r"\bjoinback (?!export needs)[a-z][a-z -]*\{[^}]*\}?", path.read_text())
    ]
    assert not spelled


def test_printed_lines_work_as_they_are(stack: Stack, cli: Cli) -> None:
    """For an application whose name begins with `-`, the lines that status and label print run as they are."""
    stack.client.log_record("-dash", inputs=1, outputs=2, join_key="a")
    stack.client.log_record("-dash", feedback={"a": 1}, join_key="a", event_id="torn")
    assert stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("a", "-dash"), "feedback:torn", "{")
    assert stack.drain().dead == 1
    findings = json.loads(cli("status", "--json").stdout)["applications"]["-dash"]["findings"]
    (fix,) = [one["fix"] for one in findings if one["name"] == "new_dead_letters"]
    assert fix == "joinback dead list -- -dash"
    assert cli(*shlex.split(fix)[1:]).stdout.startswith("undecodable  1 now")
    wrong = cli("dead", "show", "--", "-dash", "1-1")
    assert wrong.stderr == f"joinback: no dead letter 1-1; see {fix}\n"
    labelled = cli("label", "--", "-dash", "a", "repaid=true")
    assert labelled.returncode == 0, labelled.stderr
    # Each time it is undone: the label, then its retraction.
    done = labelled
    for _ in range(2):
        assert stack.drain().rows == 1
        _, command, *arguments = shlex.split(done.stdout.splitlines()[-1].removeprefix("to undo it: "))
        done = cli(command, "--yes", *arguments)
        assert done.returncode == 0, done.stderr
