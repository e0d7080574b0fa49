"""docs/reference/redis-keys.md does not lie: its keys are those of the wire, its record is what Redis holds."""

import re

from conftest import PATIENCE_S, Stack
from documents import ROOT, blocks

import joinback
from joinback import wire

PAGE = ROOT / "docs" / "reference" / "redis-keys.md"


def test_the_transcript(stack: Stack, default_client: joinback.Client) -> None:
    """After the page's two calls the record reads as it shows, but for the clock."""
    (calls,) = [block for block in blocks(PAGE, "python") if "booking-0815" in block]
    exec(calls, {"joinback": joinback})
    assert joinback.flush(PATIENCE_S)
    (transcript,) = [block for block in blocks(PAGE, "text") if block.startswith("$ redis-cli")]
    command, *expected = transcript.splitlines()
    key = re.search(r"'(.*)'", command)
    assert key is not None
    # A hash has no order of its own.
    answer = {field.decode(): _timeless(event.decode()) for field, event in stack.server.hgetall(key.group(1)).items()}
    assert answer == {field: _timeless(event) for field, event in zip(expected[::2], expected[1::2], strict=True)}


def _timeless(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", line)


def test_the_key_table() -> None:
    """The keys of the page are the ones wire.py makes."""
    for key in (
        wire.record_key("loans", "loan_17"),
        wire.pending_key("loans"),
        wire.dead_key("loans"),
        wire.stats_key("loans"),
        wire.history_key("loans"),
        wire.erased_key("loans"),
        wire.APPLICATIONS_KEY,
        wire.PAUSED_KEY,
        wire.SINK_KEY,
        wire.DRAINS_KEY,
        wire.DROPS_KEY,
    ):
        assert f"| `{key}` |" in PAGE.read_text()
