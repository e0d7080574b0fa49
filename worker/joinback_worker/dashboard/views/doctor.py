"""The answers of `joinback doctor`, except for the rights that it tries by writing."""

from itertools import groupby
from typing import Any

from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.place import Place
from joinback_worker.operating.doctor import diagnose


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return what was tried, by area."""
    diagnosis = await diagnose(desk.settings, reads_only=True)
    areas = [(area, list(tried)) for area, tried in groupby(diagnosis.tried, key=lambda one: one.area)]
    return {"diagnosis": diagnosis, "areas": areas}
