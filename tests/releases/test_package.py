"""What is built is what is here: the wheel alone runs, and the source archive is the repository."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import PATIENCE_S
from documents import ROOT

import joinback
from joinback_worker.embedded import embedded_valkey

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {"joinback": ROOT / "client" / "joinback", "joinback_worker": ROOT / "worker" / "joinback_worker"}
PIP = (sys.executable, "-m", "pip")
IS_CLONE = not subprocess.run(["git", "-C", str(ROOT), "rev-parse"], capture_output=True).returncode
"""Whether git knows this folder: not one of a source archive."""


def run(*command: str | Path, folder: Path, code: int = 0, **variables: str) -> str:
    """Run a command where no source of ours is, by its own environment; return what it prints on both streams."""
    ours = ("JOINBACK_", "PYTHON", "VIRTUAL_ENV")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        command,
        cwd=folder,
        env=inherited | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


class Built(NamedTuple):
    sdist: Path
    of_sdist: Path
    of_tree: Path
    """The wheel that `pip install .` makes, where the other one is made of the source archive."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The archives, made as a release makes them."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, folder=folder)
    run(*PIP, "wheel", "-q", "--no-deps", "-w", folder / "wheel", ROOT, folder=folder)
    (sdist,), (of_sdist,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    (of_tree,) = (folder / "wheel").glob("*.whl")
    return Built(sdist, of_sdist, of_tree)


def environment(folder: Path, requirement: str) -> Path:
    """Make a virtual environment with this alone; return its folder of commands."""
    bin_ = folder / "venv" / "bin"
    # By this environment's pip, as another one takes seconds to make.
    run(sys.executable, "-m", "venv", "--without-pip", bin_.parent, folder=folder)
    run(*PIP, "--python", bin_ / "python", "install", "-q", requirement, folder=folder)
    return bin_


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@pytest.mark.heavy
def test_the_wheel_holds_every_file(built: Built) -> None:
    """The wheel has each file of both packages, scripts, SQL, templates and styles too, as it stands here, and no
    other; the wheel that is made of the source archive is the same, byte for byte.
    """
    packed = contents(built.of_tree)
    here = {
        f"{package}/{path.relative_to(source)}": path.read_bytes()
        for package, source in PACKAGES.items()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {Path(name).suffix for name in here} >= {".py", ".lua", ".sql", ".html", ".css", ".js", ".typed"}
    assert {name: data for name, data in packed.items() if ".dist-info/" not in name} == here
    assert contents(built.of_sdist) == packed
    assert built.of_sdist.name == built.of_tree.name == f"joinback-{PROJECT['version']}-py3-none-any.whl"


@pytest.mark.heavy
@pytest.mark.skipif(not IS_CLONE, reason="only a clone knows what belongs to the repository")
def test_the_source_archive_is_the_repository(built: Built) -> None:
    """Who has the source archive has all that a clone has but its history: tests, pages, deploy/ and findings/ too."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
    with tarfile.open(built.sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed == {*listed, "PKG-INFO"}


IMPORT_ALL = """
import importlib, json, pkgutil, joinback
names = [module.name for module in pkgutil.walk_packages(joinback.__path__, "joinback.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([joinback.__file__, names]))
"""
LOG = """
import joinback
joinback.log_record("loans", inputs={"amount": 900}, outputs={"default": 0.07}, join_key="loan_17")
joinback.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
assert joinback.close(60), joinback.stats()
"""
PUBLIC = {"redaction", "sampling", "testing", "errors", "gantry"}
"""Modules that docs/reference/compatibility.md promises."""


@pytest.mark.heavy
def test_a_service_needs_two_packages(built: Built, tmp_path: Path) -> None:
    """The wheel without extras brings msgspec and redis alone. Every module of the client imports there, a service
    logs, and the command says which extra it needs.
    """
    bin_ = environment(tmp_path, str(built.of_tree))
    shown = run(*PIP, "--python", bin_ / "python", "show", "joinback", folder=tmp_path)
    assert set(re.findall(r"^Requires: (.*)$", shown, re.MULTILINE)[0].split(", ")) == {"msgspec", "redis"}
    place, names = json.loads(run(bin_ / "python", "-c", IMPORT_ALL, folder=tmp_path))
    assert Path(place).is_relative_to(tmp_path)
    assert {f"joinback.{name}" for name in PUBLIC} < {*names}
    assert f"joinback {PROJECT['version']}\n" in run(bin_ / "python", "-m", "joinback", folder=tmp_path)
    with embedded_valkey() as url:
        run(bin_ / "python", "-c", LOG, folder=tmp_path, JOINBACK_REDIS_URL=url)
    assert "the command needs the worker extra" in run(bin_ / "joinback", "--help", folder=tmp_path, code=1)


@pytest.mark.heavy
def test_the_installed_command(built: Built, tmp_path: Path) -> None:
    """The wheel with README's extras, far from the source: the command helps, says its version, plays the whole demo,
    joins what a service logs, and draws a page of it.
    """
    bin_ = environment(tmp_path, f"{built.of_tree}[worker,embedded,dashboard]")
    assert "Usage: joinback" in run(bin_ / "joinback", "--help", folder=tmp_path)
    assert run(bin_ / "joinback", "--version", folder=tmp_path).split()[-1] == PROJECT["version"]
    assert '"difference": 0' in run(bin_ / "joinback", "demo", "--json", folder=tmp_path)
    with embedded_valkey() as url:
        there = {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": f"sqlite:///{tmp_path}/joinback.db"}
        run(bin_ / "python", "-c", LOG, folder=tmp_path, **there)
        assert "joined=1 " in run(bin_ / "joinback", "drain", folder=tmp_path, **there)
        run(bin_ / "joinback", "report", "loans", "--html", tmp_path / "loans.html", folder=tmp_path, **there)
    assert "</html>" in (tmp_path / "loans.html").read_text()


def test_the_version_stands_in_one_place() -> None:
    """pyproject.toml alone says the version: no file that is shipped repeats it, and the installed one is the same."""
    assert joinback.__version__ == metadata.version("joinback") == PROJECT["version"]
    shipped = [path for source in (*PACKAGES.values(), ROOT / "deploy") for path in source.rglob("*") if path.is_file()]
    assert len(shipped) > 300
    said = re.compile(rf"(?<![\d.]){re.escape(PROJECT['version'])}(?![\d.])".encode())
    assert [path for path in shipped if path.suffix != ".pyc" and said.search(path.read_bytes())] == []


def test_the_pythons_are_those_of_ci() -> None:
    """Each Python that the classifiers name is the oldest that may be installed or a newer one, and CI runs on it."""
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{11 + place}" for place in range(len(versions))]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    (first,) = [step["with"]["python-version"] for step in jobs["all"]["steps"] if "python-version" in str(step)]
    assert {*versions} <= {first, *jobs["pythons"]["strategy"]["matrix"]["python"]}


def test_ci_has_the_history() -> None:
    """Each checkout of CI is whole, and says so: the baseline of the mixed releases is a commit of long ago."""
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert ci["env"] == {"JOINBACK_HISTORY": "required"}
    jobs = ci["jobs"]
    checkouts = [step for job in jobs.values() for step in job["steps"] if "actions/checkout" in step.get("uses", "")]
    assert len(checkouts) == len(jobs)
    assert all(step["with"]["fetch-depth"] == 0 for step in checkouts)
