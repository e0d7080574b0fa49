"""Merge all rows of one sink into another, for a change of sink.

It may be repeated, or stopped and started again: rows that are there already do not change.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from msgspec import Struct

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.config.rules_file import policy_of
from joinback_worker.errors import SinkRefused
from joinback_worker.law.record import Record, Rejected
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Sink, open_sink
from joinback_worker.sinks.schemes import place_of


class Copied(Struct, kw_only=True):
    """What a copy has done so far."""

    records: int = 0
    """Records merged. One whose events came in two batches counts twice."""
    refused: list[str] = []
    """Records and events that the new sink does not take: `application, join key: why`."""

    def refuse(self, record: Record, why: str) -> None:
        self.refused.append(f"{record.application}, {record.join_key}: {why}")


async def copy(settings: Settings, from_url: str, to_url: str) -> AsyncIterator[Copied]:
    """Merge all records of one sink into another; yield after each batch what was done so far. The first is only read.

    Rows follow the rules of their application now. Raises ConfigurationError for a URL of no known sink, or if both
    URLs are of one sink; SinkUnavailable if one of the two is unavailable.
    """
    if place_of(from_url) == place_of(to_url):
        raise ConfigurationError("both URLs are of one sink: there is nothing to copy")
    copied = Copied(refused=[])
    async with open_sink(from_url, Policy(), read_only=True) as source, AsyncExitStack() as stack:
        target, entered = None, None
        async for records in source.records():
            for application, group in _by_application(records).items():
                if target is None or application != entered:
                    # An open sink has the policy of one application.
                    await stack.aclose()
                    policy = policy_of(settings, application, datetime.now(UTC))
                    target, entered = await stack.enter_async_context(open_sink(to_url, policy)), application
                await _merge(target, group, copied)
            yield copied


def _by_application(records: Sequence[Record]) -> dict[str, list[Record]]:
    by_application: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_application[record.application].append(record)
    return by_application


async def _merge(target: Sink, records: Sequence[Record], copied: Copied) -> None:
    """Merge the records that the sink takes; find those that it refuses by bisection."""
    try:
        merged = await target.merge(records)
    except SinkRefused as error:
        if len(records) == 1:
            copied.refuse(records[0], str(error))
            return
        middle = len(records) // 2
        await _merge(target, records[:middle], copied)
        await _merge(target, records[middle:], copied)
        return
    copied.records += len(records)
    copied.refused += [_overflow(records[0].application, event) for event in merged.rejected if _is_lost(event)]


def _is_lost(event: Rejected) -> bool:
    """Return whether the row does not hold the event. Late feedback, which has a mark, stays in its row."""
    return not event.mark


def _overflow(application: str, event: Rejected) -> str:
    return f"{application}, {event.join_key}: {event.detail}"
