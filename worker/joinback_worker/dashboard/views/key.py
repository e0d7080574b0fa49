"""One join key: what `joinback explain` says, as a timeline."""

from typing import Any

from joinback_worker.connect import connect
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.place import Place
from joinback_worker.operating.explaining import explain


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return the explanation; nothing while no key was asked for. Raises what `explain` raises."""
    application, key = place.wanted("application"), place.get("join_key")
    found = None
    if key is not None:
        redis = connect(desk.settings)
        try:
            found = await explain(redis, desk.settings, application, key)
        finally:
            await redis.aclose()
    return {"application": application, "found": found, "payloads": place.get("payloads") == "shown"}
