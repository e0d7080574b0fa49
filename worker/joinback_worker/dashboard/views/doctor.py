"""What a deployment needs, tried: what `joinback doctor` says, without its probe, which writes a row."""

from itertools import groupby
from typing import Any

from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.place import Place
from joinback_worker.operating.doctor import diagnose


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return what was tried, by area."""
    told = await diagnose(desk.settings)
    areas = [(area, list(tried)) for area, tried in groupby(told.tried, key=lambda one: one.area)]
    return {"diagnosis": told, "areas": areas}
