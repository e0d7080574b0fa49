"""The files of deploy/ are what their readers take: systemd, Kubernetes, Compose, a builder of images, and Redis."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import redis
import yaml

from joinback_worker.cli import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").iterdir())
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    """Run a command that must not complain; returns what it says on both streams."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def exists(words: list[str]) -> bool:
    """Whether these words after `joinback` run a command."""
    command: click.Command | None = cli
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
    return command is not None and not isinstance(command, click.Group)


def manifest(name: str) -> dict[str, Any]:
    """One file of deploy/kubernetes."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text())
    return loaded


def test_every_command_exists() -> None:
    """What the units, the image and the manifests start are commands of this version."""
    lines = [line for unit in UNITS for line in unit.read_text().splitlines()]
    started = [line.split()[1:] for line in lines if line.startswith("ExecStart=")]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    started += [yaml.safe_load(argv) for argv in re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)]
    started.append(manifest("worker.yaml")["spec"]["template"]["spec"]["containers"][0]["args"])
    started.append(manifest("drain.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"])
    assert len(started) >= 6
    for words in started:
        assert exists(words), words


def test_the_probes() -> None:
    """Compose's image and the Deployment ask the worker's own probe, and take 2, which no restart mends, for alive."""
    (container,) = manifest("worker.yaml")["spec"]["template"]["spec"]["containers"]
    probes = [container["livenessProbe"]["exec"]["command"]]
    (check,) = re.findall(r"HEALTHCHECK .*\\\n +CMD (.*)", (DEPLOY / "Dockerfile").read_text())
    probes.append(yaml.safe_load(check))
    for shell, option, probe in probes:
        assert (shell, option) == ("sh", "-c")
        command, _, rest = probe.partition(";")
        assert exists(shlex.split(command)[1:2])
        assert rest == " test $? -ne 1"


@pytest.mark.heavy
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit(unit: Path, tmp_path: Path) -> None:
    """Systemd has nothing to say against a unit."""
    for other in UNITS:
        text = other.read_text().replace("/opt/joinback/bin/joinback", str(BIN / "joinback"))
        (tmp_path / other.name).write_text(text)
    assert run("systemd-analyze", "verify", tmp_path / unit.name) == ""


@pytest.mark.heavy
def test_what_the_worker_is_exposed_to() -> None:
    """By systemd's own measure, 0 to 10, the worker's unit is below 4: it may do little but reach the network."""
    unit = DEPLOY / "systemd" / "joinback-worker.service"
    run("systemd-analyze", "security", "--offline=yes", "--threshold=40", unit)


@pytest.mark.heavy
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest(path: Path) -> None:
    """A manifest is valid by Kubernetes' own schemas, with no field that they do not know."""
    import kubernetes_validate

    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.heavy
def test_the_compose_file() -> None:
    """The Compose file is valid by Compose's own schema."""
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


@pytest.mark.heavy
def test_the_dockerfile() -> None:
    """Hadolint has nothing to say against the Dockerfile."""
    assert run(BIN / "hadolint", DEPLOY / "Dockerfile") == ""


def test_the_image_gets_what_the_wheel_needs() -> None:
    """What the builder sends is enough for the wheel: each package the wheel is made of, its README and its licence."""
    sent = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.findall(r'"([\w/]+)"', re.findall(r"^packages = (.*)$", project, re.MULTILINE)[0])
    assert len(packages) == 2
    assert {package.partition("/")[0] for package in packages} | {"pyproject.toml", "README.md", "LICENSE"} == sent


def test_the_rights_of_redis() -> None:
    """A server takes deploy/redis/users.acl as its own file of users, and both can log in."""
    from joinback_worker.embedded import embedded_valkey

    with embedded_valkey(aclfile=str(DEPLOY / "redis" / "users.acl")) as url:
        host = url.removeprefix("redis://")
        for user in ("joinback-client", "joinback-worker"):
            with redis.Redis.from_url(f"redis://{user}:secret@{host}") as connection:
                assert connection.ping()


def test_the_timers() -> None:
    """Each timer has a service of its name to start."""
    timers = [unit for unit in UNITS if unit.suffix == ".timer"]
    assert len(timers) == 2
    assert all(timer.with_suffix(".service") in UNITS for timer in timers)
