"""Find the one record that a sink refuses, or the one row that cannot be read, so that the others go on."""

from collections.abc import Sequence

from joinback_worker.errors import SinkRefused
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.sinks import Merged, Sink


async def merge_each(sink: Sink, records: Sequence[Record]) -> tuple[Merged, dict[str, str]]:
    """Merge all records that the sink takes. Return the result, and why it refused each other record, by join key.

    The refused records are found by bisection: each costs about 2 log2(n) merges. Raises SinkUnavailable.
    """
    try:
        return await sink.merge(records), {}
    except SinkRefused as error:
        if len(records) == 1:
            return Merged(), {records[0].join_key: str(error)}
    middle = len(records) // 2
    first, refused = await merge_each(sink, records[:middle])
    second, also_refused = await merge_each(sink, records[middle:])
    return first + second, refused | also_refused


async def get_each(sink: Sink, application: str, join_keys: Sequence[str]) -> tuple[dict[str, Row], set[str]]:
    """Return the rows of these keys that the sink holds, by key, and the keys of those rows that cannot be read.

    The latter are found by bisection. Raises SinkUnavailable.
    """
    try:
        return await sink.get(application, join_keys), set()
    except SinkRefused:
        if len(join_keys) == 1:
            return {}, set(join_keys)
    middle = len(join_keys) // 2
    first, unreadable = await get_each(sink, application, join_keys[:middle])
    second, also_unreadable = await get_each(sink, application, join_keys[middle:])
    return first | second, unreadable | also_unreadable
