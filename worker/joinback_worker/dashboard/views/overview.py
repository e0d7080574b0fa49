"""All applications: the table of `joinback status`, with a curve of the events received lately."""

from typing import Any

from joinback_worker.connection.connect import connect
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.pictures.sparkline import sparkline
from joinback_worker.dashboard.place import Place
from joinback_worker.dashboard.trends import received
from joinback_worker.operating.overview import overview


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return the overview and a curve for each application. Raises what Redis raises."""
    redis = connect(desk.settings)
    try:
        seen = await overview(redis, desk.settings)
        trends = await received(redis, [state.application for state in seen.applications])
    finally:
        await redis.aclose()
    return {"overview": seen, "sparklines": {name: sparkline(values) for name, values in trends.items()}}
