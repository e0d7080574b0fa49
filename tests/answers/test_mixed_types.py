"""Values of several types: the report refuses them with what mends it, and the mend works on rows that exist."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from answers.odd_records import NOW, record

from joinback.settings import Settings
from joinback_worker.answers.answer import Report, Wanted
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.pairing import Pair, pair_of
from joinback_worker.answers.report import report
from joinback_worker.config.rules_file import policy_of
from joinback_worker.law.rules import FieldRules, Rules
from joinback_worker.sinks import open_sink

SHARES = [0.2, 0.9, 0.4, 0.6]


def samples(ours: Sequence[Any], labels: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
    return [({"m": one}, {"m": label}) for one, label in zip(ours, labels, strict=True)]


@pytest.mark.parametrize(
    ("ours", "labels", "type_"),
    [
        (SHARES, [True, False, "true", False], "bool"),
        (SHARES, [True, 0, "1", "False"], "bool"),
        ([True, False, True, True], [True, False, "true", False], "bool"),
        ([300, 500, 400, 9], ["12", 13, 14, 15.0], "int"),
        ([300, 500, 400, 9], ["12.5", 13, 14, 15.0], "float"),
        (["7", "8", "9", "7"], [7, "8", 9, 7], "str"),
        (["true", "false", "true", "true"], [True, False, True, True], "str"),
    ],
)
def test_the_type_that_converts_the_labels_is_named(ours: Any, labels: Any, type_: Any) -> None:
    """Of labels of several types the report names the type that converts all of them, and the command for rows that
    exist: a value that is logged from now on mends none. If the type is declared already, only the command is left.
    """
    reason = str(pair_of(samples(ours, labels), Rules(), Choice()))
    assert f'In joinback.toml declare `type = "{type_}"` for the field, restart the workers and run' in reason
    assert "`joinback sink refold APPLICATION`" in reason
    told = str(pair_of(samples(ours, labels), Rules(feedback={"m": FieldRules(type=type_)}), Choice()))
    assert f'joinback.toml declares `type = "{type_}"`, and the rows are older than that: restart the workers' in told


@pytest.mark.parametrize(
    ("ours", "labels", "odd", "type_"),
    [
        (SHARES, [True, False, "maybe", False], "feedback.m=maybe", "bool"),
        (SHARES, [True, False, "true", [1]], "'feedback.m=[1]'", "bool"),
        ([300, 500, 400, 9], [3.5, "none yet", 4, 5], "'feedback.m=none yet'", "float"),
        (["a", "b", "a", "b"], ["a", "b", ["a"], 7], """'feedback.m=["a"]'""", "str"),
    ],
)
def test_a_label_that_no_type_converts_is_named(ours: Any, labels: Any, odd: str, type_: str) -> None:
    """If no type converts all labels, the report names one that is in the way, and the command that takes it back."""
    reason = str(pair_of(samples(ours, labels), Rules(), Choice()))
    assert f"is no {type_}, as most labels are or can become: log such labels again" in reason
    assert f"`joinback retract APPLICATION --field m --where {odd}`" in reason


@pytest.mark.parametrize("choice", [Choice(), Choice(output="m"), Choice(field="m"), Choice(output="m", field="m")])
def test_mixed_outputs_are_not_compared(choice: Choice) -> None:
    """Outputs that are now numbers, now texts, now true or false are refused with the reason, chosen or not."""
    reason = str(pair_of(samples([0.2, "a", True, 3], [True, False, True, False]), Rules(), choice))
    assert "'m' is now a number, now a text, now true or false, and the field 'm' is true or false." in reason
    assert "rows keep their outputs: log one kind under another name" in reason


@pytest.mark.parametrize(
    ("ours", "labels"), [([True, 3, False, 0.5], [3, 3, 0, 1]), ([True, False, True, True], [2, 0, 1, 1])]
)
def test_true_and_false_beside_numbers_are_chosen(ours: Any, labels: Any) -> None:
    """True is the number 1 beside other numbers only if a person names the output or the field, as the reason says."""
    reason = str(pair_of(samples(ours, labels), Rules(), Choice()))
    assert "To compare true and false as 1 and 0, give --output m" in reason
    for choice in (Choice(output="m"), Choice(field="m")):
        pair = pair_of(samples(ours, labels), Rules(), choice)
        assert isinstance(pair, Pair)
        assert pair.kind == "classes"
    # 1 and 0 are how some systems write true and false.
    plain = pair_of(samples([True, 0, 1, False], [1, 0, True, False]), Rules(), Choice())
    assert isinstance(plain, Pair)
    assert (plain.kind, plain.guessed) == ("classes", True)


@pytest.mark.parametrize("place", ["sqlite:///{}/sink.db", "parquet:///{}/lake"])
def test_the_declared_type_mends_rows_that_exist(place: str, tmp_path: Path) -> None:
    """After the declaration and the refold that the reason names, one text among true and false is a label like the
    others. A lake needs no refold.
    """
    url = place.format(tmp_path)
    config = tmp_path / "joinback.toml"
    config.write_text('[applications.mixed.feedback.m]\ntype = "bool"\n')
    plain, ruled = Settings(sink_url=url), Settings(sink_url=url, config=str(config))

    async def run() -> tuple[Report, Report]:
        share = [(n % 10 + 0.5) / 10 for n in range(80)]
        labels = ["true" if n == 7 else share[n] > 0.4 for n in range(80)]
        async with open_sink(url, policy_of(plain, "mixed", NOW)) as sink:
            await sink.merge([record("mixed", n, {"m": share[n]}, {"m": labels[n]}) for n in range(80)])
        wanted = Wanted(application="mixed", now=NOW, age_d=7)
        before = await report(plain, wanted)
        async with open_sink(url, policy_of(ruled, "mixed", NOW)) as sink:
            if sink.refolds:
                assert (await sink.refold("mixed", dry_run=False)).total() == 1
        return before, await report(ruled, wanted)

    before, after = asyncio.run(run())
    assert 'declare `type = "bool"`' in str(before.why_no_pair)
    assert after.pair is not None
    assert after.ripe is not None
    assert (after.pair.kind, after.ripe.labels) == ("score", 60)
    # Of the labels, the four of 0.45 are not what their output says.
    assert after.ripe.at_age == pytest.approx(56 / 60)
