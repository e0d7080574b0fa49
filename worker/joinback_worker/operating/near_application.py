"""The application that a sender most likely means by the name of one that never logged a prediction."""

from collections.abc import Collection, Mapping

from redis.asyncio import Redis

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.connection.connect import ask_each
from joinback_worker.labels.lookup import looking_up
from joinback_worker.nearest import nearest
from joinback_worker.notes.layouts import Layout


async def near_application(redis: Redis, application: str, known: Mapping[str, Layout]) -> str | None:
    """Return the application with predictions whose name is most like this one; None if this one has predictions, or
    if no name is alike enough.
    """
    tags = [(name, tag) for name, layout in known.items() for tag in layout.tags(name)]
    answers = await ask_each(redis, [("HGETALL", wire.stats_key(tag)) for _, tag in tags])
    predicted = {
        name
        for (name, _), answer in zip(tags, answers, strict=True)
        # An error stands in the place of an answer.
        if isinstance(answer, dict) and b"received:prediction" in answer
    }
    return None if application in predicted else nearest(application, predicted)


async def predicted_in(
    redis: Redis, settings: Settings, application: str, layout: Layout, keys: Collection[str]
) -> set[str]:
    """Return which of these keys have a prediction in this application; none if its rows cannot be read here."""
    try:
        async with looking_up(redis, settings, application, layout) as lookup:
            known = await lookup.known(keys)
    except JoinbackError:
        return set()
    return {key for key, found in known.items() if found.is_predicted}
