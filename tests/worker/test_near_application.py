"""Labels that were sent to a wrong application: `orphans` and `explain` name the right one, as status does."""

import json

import pytest
from conftest import PATIENCE_S, Cli, Stack


def mislabel(stack: Stack, application: str = "Loans") -> None:
    """Predictions of loans, and a label of one that went to another application."""
    for n in range(5):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=f"loan_{n}")
    stack.client.log_record(application, feedback={"repaid": True}, join_key="loan_3")
    assert stack.client.flush(PATIENCE_S)


@pytest.mark.parametrize("settled", [True, False])
def test_the_application_that_was_meant_is_named(stack: Stack, cli: Cli, settled: bool) -> None:
    """Where the same key exists in the application of nearly the same name, both say so, from Redis or the sink."""
    mislabel(stack)
    stack.drain()
    if settled:
        for n in range(5):
            stack.server.delete(stack.record(f"loan_{n}"))
    (group,) = json.loads(cli("orphans", "Loans", "--json").stdout)["groups"]
    assert (group["how"], group["matches"]) == ("as keys of loans: did their sender mean loans?", 1)
    assert "1  would match as keys of loans: did their sender mean loans?\n" in cli("orphans", "Loans").stdout
    verdict = cli("explain", "Loans", "loan_3").stdout.splitlines()[0]
    assert verdict.endswith("; was loan_3 meant? (of the application loans)")
    # A key of which this application never got anything.
    verdict = cli("explain", "Loans", "loan_4").stdout.splitlines()[0]
    assert "; but there is loan_4 (of the application loans)" in verdict


def test_an_application_with_predictions_of_its_own_is_meant(stack: Stack, cli: Cli) -> None:
    """Its orphans are not said to be another application's, whatever keys that one has."""
    mislabel(stack)
    stack.client.log_record("Loans", inputs=1, outputs=2, join_key="own")
    stack.drain()
    (group,) = json.loads(cli("orphans", "Loans", "--json").stdout)["groups"]
    assert group["how"] == ""
    assert "application loans" not in cli("explain", "Loans", "loan_3").stdout


def test_a_key_that_the_meant_application_lacks(stack: Stack, cli: Cli) -> None:
    """Nothing is guessed: a key that exists nowhere is told as one."""
    mislabel(stack)
    stack.client.log_record("Loans", feedback={"repaid": True}, join_key="else_9")
    stack.drain()
    groups = json.loads(cli("orphans", "Loans", "--json").stdout)["groups"]
    assert [(group["how"], group["matches"]) for group in groups][-1] == ("", 1)
    assert "application loans" not in cli("explain", "Loans", "else_9").stdout.splitlines()[0]
