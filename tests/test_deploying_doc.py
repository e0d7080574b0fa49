"""docs/deploying.md does not lie: its files parse, and each command in it exists."""

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from joinback_worker.cli import cli

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "deploying.md").read_text()


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
        found = command.commands.get(word)
        assert found is not None, f"no such command: {' '.join(words)}"
        command = found
    return command


@pytest.mark.parametrize("name", ["deploying.md", "sinks.md"])
def test_every_command_exists(name: str) -> None:
    """What the documents tell to type are commands of this version."""
    commands = named((DOCS / name).read_text())
    assert len(commands) >= 5
    for words in commands:
        command_of(words)


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document["spec"]
    spec = spec.get("jobTemplate", {"spec": spec})["spec"]
    found: list[dict[str, Any]] = spec["template"]["spec"]["containers"]
    return found


def test_the_yaml() -> None:
    """The manifests parse, run commands that exist, and take their secrets from a Secret."""
    documents = [yaml.safe_load(block) for block in blocks("yaml")]
    assert [document["kind"] for document in documents] == ["Deployment", "CronJob"]
    for document in documents:
        for container in containers(document):
            command_of(container["command"])
            assert container["envFrom"] == [{"secretRef": {"name": "joinback"}}]
            if "livenessProbe" in container:
                shell, _, probe = container["livenessProbe"]["exec"]["command"]
                assert shell == "sh"
                assert command_of(shlex.split(probe.partition(";")[0])).name == "worker"


def test_the_unit() -> None:
    """The unit parses, and starts the worker."""
    unit = configparser.ConfigParser(strict=False)
    unit.read_string(blocks("ini")[0])
    words = unit["Service"]["ExecStart"].split()
    assert command_of(["joinback", *words[1:]]).name == "worker"
    assert unit["Service"]["Restart"] == "always"
