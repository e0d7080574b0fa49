"""One record that a sink refuses, or one row that it cannot read, found among many, so that the others go on."""

from collections.abc import Sequence

from joinback_worker.errors import SinkRefused
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.sinks import Merged, Sink


async def merge_each(sink: Sink, records: Sequence[Record]) -> tuple[Merged, dict[str, str]]:
    """Merge all that the sink takes; bisect to the records it refuses. Returns their keys and why."""
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
    """The rows of these keys, and the keys of those rows that are there and cannot be read."""
    try:
        return await sink.get(application, join_keys), set()
    except SinkRefused:
        if len(join_keys) == 1:
            return {}, set(join_keys)
    middle = len(join_keys) // 2
    first, unreadable = await get_each(sink, application, join_keys[:middle])
    second, also_unreadable = await get_each(sink, application, join_keys[middle:])
    return first | second, unreadable | also_unreadable
