"""Arguments that no command takes."""

import pytest
from conftest import PATIENCE_S, Cli, Stack

# As Python passes these bytes to a process, and reads them in it.
NO_TEXT = b"\xff\xfe".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "loans", NO_TEXT), ("explain", NO_TEXT, "loan_17"),
        ("dead", "list", NO_TEXT), ("dead", "list", "loans", "--reason", NO_TEXT),
        ("label", "loans", "loan_17", f"repaid={NO_TEXT}"), ("label", "loans", "loan_17", f"{NO_TEXT}=true"),
        ("label", "loans", "loan_17", "repaid=true", "--source", NO_TEXT), ("label", NO_TEXT, "x", "a=1", "--new"),
        ("apps", "set", NO_TEXT, "--shards", "2", "--new"), ("sink", "adopt", "--application", NO_TEXT),
        ("sink", "release", NO_TEXT), ("erase", NO_TEXT, "k", "--yes"), ("erase", "loans", NO_TEXT, "--yes"),
        ("retract", "loans", "--key", NO_TEXT, "--yes"), (NO_TEXT,),
    ],
)  # fmt: skip
def test_an_argument_that_is_not_text_is_refused(stack: Stack, cli: Cli, arguments: tuple[str, ...]) -> None:
    """Whatever the command, an argument that is not UTF-8 is one line and exit code 2; nothing is written."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    assert stack.client.flush(PATIENCE_S)
    before = {key: stack.server.type(key) for key in stack.server.keys("*")}
    done = cli(*arguments)
    number = next(number for number, one in enumerate(arguments, 1) if NO_TEXT in one)
    says = arguments[number - 1].replace(NO_TEXT, "\\xff\\xfe")
    assert (done.returncode, done.stderr) == (2, f"joinback: argument {number} is not text in UTF-8: {says}\n")
    assert {key: stack.server.type(key) for key in stack.server.keys("*")} == before
