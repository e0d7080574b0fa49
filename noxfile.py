"""What contributors run, by name: `nox -l` lists it. CI is .ci/run, which needs none of this."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["quick", "lint"]

PYTHONS = [*nox.project.python_versions(nox.project.load_toml("pyproject.toml")), "3.14"]
"""What the classifiers promise, and what is tried before it is promised."""
QUICK = [
    "tests/client/test_wire.py",
    "tests/client/test_events.py",
    "tests/client/test_values.py",
    "tests/client/test_client.py",
    "tests/worker/test_fold.py",
    "tests/worker/test_row.py",
    "tests/worker/test_reduce.py",
    "tests/worker/test_cycle.py",
    "tests/sinks/test_sqlite.py",
    "tests/test_layering.py",
    "tests/docs",
]
"""The law, the wire, the client, one drain, one sink, and the pages: what most changes would break first."""


@nox.session
def quick(session: nox.Session) -> None:
    """Run what most changes would break first; a minute on two cores."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-n", "2", *QUICK, *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run README's tests on one Python; one that is not installed is skipped."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Run the linters and the types, as CI does."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation as a site in build/docs. A dead link fails."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "build/docs")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the client beside its floors and peers; six minutes on an idle machine."""
    session.install("-e", ".[dev,bench]")
    session.run("python", "bench/client.py", *session.posargs)
