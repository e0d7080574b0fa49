"""One join key: the answer of `joinback explain`, with a timeline."""

from collections.abc import Iterator
from typing import Any

from joinback_worker.connection.connect import connect
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.place import Place
from joinback_worker.dashboard.render import moment, text
from joinback_worker.dashboard.troubles import NotAnnounced
from joinback_worker.law.row import Row
from joinback_worker.notes.layouts import layouts
from joinback_worker.operating.explaining import explain
from joinback_worker.operating.row_cells import cells


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return the explanation; none while no key is asked for. Raises what `explain` raises."""
    application, key = place.wanted("application"), place.get("join_key")
    found = None
    if key is not None:
        redis = connect(desk.settings)
        try:
            found = await explain(redis, desk.settings, application, key)
            if not found.is_known and application not in (known := await layouts(redis)):
                raise NotAnnounced(application, known)
        finally:
            await redis.aclose()
    payloads = place.get("payloads") == "shown"
    row = [] if found is None or found.row is None else list(_cells(found.row, payloads))
    return {"application": application, "found": found, "row": row, "payloads": payloads}


def _cells(row: Row, payloads: bool) -> Iterator[tuple[str, str]]:
    """Yield the columns of the row. The JSON that services logged is left out unless `payloads` is set."""
    for name, value in cells(row):
        if isinstance(value, bytes) and not payloads:
            continue
        yield name, text(value) if isinstance(value, bytes) else moment(value) if name.endswith("_at") else str(value)
