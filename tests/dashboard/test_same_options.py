"""What `joinback report` takes as an option, the page of an application takes in its address."""

from importlib import import_module
from typing import Any

import click
import pytest
from msgspec import structs

from joinback.errors import ConfigurationError
from joinback_worker.answers.answer import Wanted
from joinback_worker.dashboard.place import Place
from joinback_worker.dashboard.views.application import wanted_of

SAME = {
    "--age-days": "age",
    "--field": "field",
    "--output": "output",
    "--threshold": "threshold",
    "--positive": "positive",
    "--since": "since",
    "--version": "compare",
}
"""Option -> parameter of the address."""
OF_THE_COMMAND = {"--json", "--csv", "--html"}
"""How to print it, which a page does not ask."""
VALUES = (
    "0", "-0", "-0.5", "0.5", "1", "1.5", "3650", "3650.5", "1e-9", "-1", "1e400", "nan", "inf", "-inf", " 7 ", "1_0",
    "0x1", "true", "false", "null", '"1"', "[1]", "fraud", "a b", "-", "é", "2026-10-01", "2026-10-01T12:00:00+02:00",
    "20261001", "2026-13-01", "yesterday",
)  # fmt: skip
COMMAND = import_module("joinback_worker.cli.report")


def test_every_option_has_a_parameter() -> None:
    """An option of `joinback report` that says what to compare is in the comparison of both."""
    options = {name for one in COMMAND.report.params if isinstance(one, click.Option) for name in one.opts}
    assert options == SAME.keys() | OF_THE_COMMAND


@pytest.mark.parametrize(("option", "parameter"), SAME.items())
def test_both_take_the_same_values(option: str, parameter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command and the page understand every value alike, or both refuse it, except for an empty one: by that a form
    says that nothing is chosen.
    """
    taken = []
    for value in VALUES:
        # Versions are compared in twos.
        values = [value, "1.0"] if option == "--version" else [value]
        told = by_command(monkeypatch, [f"{option}={one}" for one in values])
        assert told == by_page([(parameter, one) for one in values]), value
        taken += [value] if told else []
    assert taken


def test_a_threshold_is_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 and less are thresholds, such as of logits. 0 is no age, neither for the command nor for the page."""
    for value in ("0", "-0.5"):
        assert wanted_of(place([("threshold", value)])).choice.threshold == float(value)
        assert by_command(monkeypatch, [f"--age-days={value}"]) is by_page([("age", value)]) is None


class _Asked(Exception):
    """The command asked."""


def by_command(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> str | None:
    """Return what the command would ask; None if it refuses."""
    asked: list[Wanted] = []

    def catch(_: Any, wanted: Wanted) -> None:
        asked.append(wanted)
        raise _Asked

    monkeypatch.setattr(COMMAND, "_asked", catch)
    try:
        COMMAND.report.main(["loans", *options], standalone_mode=False)
    except _Asked:
        return in_words(asked[0])
    except (click.UsageError, ConfigurationError):
        pass
    return None


def by_page(parameters: list[tuple[str, str]]) -> str | None:
    """Return what the page would ask; None if it refuses."""
    try:
        return in_words(wanted_of(place(parameters)))
    except ConfigurationError:
        return None


def place(parameters: list[tuple[str, str]]) -> Place:
    return Place(path="/application", parameters=[("application", "loans"), *parameters])


def in_words(wanted: Wanted) -> str:
    """Return it without the time of the question, as text, in which nan is equal to itself."""
    return repr({name: value for name, value in structs.asdict(wanted).items() if name != "now"})
