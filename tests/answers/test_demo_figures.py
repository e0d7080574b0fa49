"""What the demo says of its made-up months, beside the figures that it shows."""

import asyncio
import io
import re
from datetime import UTC, datetime
from pathlib import Path

from made_up_records import record_of
from rich.console import Console

from joinback.settings import Settings
from joinback_worker.cli.demo_months import APPLICATION, COUNT, RULES
from joinback_worker.cli.demo_page import AGES_D, show_months
from joinback_worker.cli.made_up_loans import made_up_loans
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink


def test_the_sentences_agree_with_the_figures(tmp_path: Path) -> None:
    """How far the plain accuracy is from the truth is the difference of the table's columns, and larger on new days;
    what the report compares is said before it says "about the same" or "looks better".
    """
    url, rules = f"sqlite:///{tmp_path}/sink.db", tmp_path / "joinback.toml"
    rules.write_text(RULES)
    now = datetime.now(UTC)
    loans = list(made_up_loans(COUNT, now))

    async def fill() -> None:
        async with open_sink(url, Policy()) as sink:
            await sink.merge([record_of(loan, now, APPLICATION) for loan in loans])

    asyncio.run(fill())
    printed = io.StringIO()
    show_months(Console(file=printed, width=100), Settings(sink_url=url, config=str(rules)), loans)
    text = printed.getvalue()
    rows = [line.split() for line in text.splitlines() if re.match(r"\d+ to \d+ ", line)]
    assert len(rows) == len(AGES_D)
    said = re.search(r"it is (\S+) too high on the oldest of these days, and (\S+) too high on the newest", text)
    assert said is not None
    gaps = [float(row[3]) - float(row[-1]) for row in rows]
    assert [float(one) for one in said.groups()] == [round(gaps[0], 3), round(gaps[-1], 3)]
    assert gaps[-1] > gaps[0] > 0
    assert text.index("compares labels with labels") < text.index("By the labels that came within")
