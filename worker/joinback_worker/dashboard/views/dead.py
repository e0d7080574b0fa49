"""Events that are in no joined row: dead letters by reason, and orphans by the form of their key that would match."""

from typing import Any

from joinback.errors import JoinbackError
from joinback_worker.connection.connect import connect
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.place import Place
from joinback_worker.dashboard.troubles import NotAnnounced
from joinback_worker.notes.layouts import layouts
from joinback_worker.operating.letters import dead_groups
from joinback_worker.operating.orphans import orphans


async def look(desk: Desk, place: Place) -> dict[str, Any]:
    """Return both. If the orphans cannot be read, `no_orphans` says why. Raises what Redis raises."""
    application = place.wanted("application")
    redis = connect(desk.settings)
    try:
        known = await layouts(redis)
        if application not in known:
            raise NotAnnounced(application, known)
        tags = known[application].tags(application)
        groups = await dead_groups(redis, application, tags)
        try:
            found, why_none = await orphans(redis, desk.settings, application), None
        except JoinbackError as error:
            found, why_none = None, str(error)
    finally:
        await redis.aclose()
    return {
        "application": application,
        "groups": groups,
        "orphans": found,
        "no_orphans": why_none,
    }
