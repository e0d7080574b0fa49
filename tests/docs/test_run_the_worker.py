"""docs/how-to/run-the-worker.md does not lie: each command and each file that it names exists."""

import re
import shlex
from pathlib import Path

import click
import pytest
from documents import pages

from joinback_worker.cli import cli

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "how-to" / "run-the-worker.md").read_text()


def blocks(language: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def named(text: str) -> list[list[str]]:
    """Every `joinback …` that a document names, as words."""
    lines = [line.partition("#")[0] for block in blocks("sh", text) for line in block.splitlines()]
    lines += re.findall(r"`(joinback [^`\n]*)`", text)
    return [shlex.split(line) for line in lines if line.startswith("joinback ")]


def command_of(words: list[str]) -> click.Command:
    """The command that these words run. Fails if it does not exist."""
    command: click.Command = cli
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"no such command: {' '.join(words)}"
        command = found
    return command


# These tell of former versions, or are written by the commands themselves.
NOT_NOW = {"CHANGELOG.md", "decisions.md", "commands.md"}


@pytest.mark.parametrize("page", [page for page in pages() if page.name not in NOT_NOW], ids=lambda page: page.name)
def test_every_command_exists(page: Path) -> None:
    """What a page tells to type are commands of this version."""
    for words in named(page.read_text()):
        command_of(words)


def test_commands_are_found() -> None:
    """The pages for who deploys name commands, in blocks and in lines."""
    assert len(named(TEXT)) >= 5


def test_what_the_units_need_is_made() -> None:
    """The page's commands make the user, the environment and the file of settings that every unit names."""
    commands = "\n".join(blocks("sh", TEXT.partition("## systemd")[2].partition("\n## ")[0]))
    units = "\n".join(path.read_text() for path in (DOCS.parent / "deploy" / "systemd").glob("*.service"))
    made = {
        "User": re.findall(r"^useradd .* (\S+)$", commands, re.MULTILINE),
        "ExecStart": [f"{path}/bin/joinback" for path in re.findall(r"-m venv (\S+)", commands)],
        "EnvironmentFile": re.findall(r"^install .* (\S+)$", commands, re.MULTILINE),
    }
    for key, paths in made.items():
        assert set(re.findall(rf"^{key}=(\S+)", units, re.MULTILINE)) == set(paths), key


def test_every_file_exists() -> None:
    """The files of deploy/ that the document names are there, and it names them all."""
    folder = DOCS.parent / "deploy"
    there = {path.name for path in folder.rglob("*") if path.is_file()} - {"Dockerfile.dockerignore", "users.acl"}
    services = {name.removesuffix(".timer") + ".service" for name in there if name.endswith(".timer")}
    assert {name for name in there - services if name not in TEXT} == set()
    for path in re.findall(r"\bdeploy/[\w./-]*\w", TEXT):
        assert (DOCS.parent / path).exists(), path
