"""What a command about dead letters asks of Redis: on each tag of its application, and of the letters that it names."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.asyncio import Redis

from joinback import wire
from joinback.command_line import command_line
from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.by_hand.dead_letters import letter_of
from joinback_worker.notes.layouts import Layout, layouts
from joinback_worker.operating.letters import check_letters

from .names import check_known
from .with_redis import with_redis

T = TypeVar("T")


def on_each_tag(application: str, work: Callable[[Redis, str], Awaitable[T]]) -> list[T]:
    """Return what `work` returns for each tag of an application. Raises as `with_redis` does."""

    async def run(redis: Redis, tags: list[str]) -> list[T]:
        return [await work(redis, tag) for tag in tags]

    return on_tags(application, run)


def on_tags(application: str, work: Callable[[Redis, list[str]], Awaitable[T]]) -> T:
    """Return what `work` returns for the tags of an application. Raises as `with_redis` does."""

    async def run(redis: Redis) -> T:
        known = await layouts(redis)
        tags = known.get(application, Layout()).tags(application)
        # Dead letters may outlive the announcement of their application.
        if not any([await redis.execute_command("EXISTS", wire.dead_key(tag)) for tag in tags]):
            check_known([application], known)
        await check_letters(redis, settings, tags)
        return await work(redis, tags)

    settings = settings_from()
    return with_redis(settings, run)


def check_ids(application: str, letter_ids: Sequence[str]) -> None:
    """Raise JoinbackError, which names them, for ids that no dead letter of the application has."""

    async def run(redis: Redis, tags: list[str]) -> list[str]:
        return [one for one in letter_ids if not any([await letter_of(redis, tag, one) for tag in tags])]

    if missing := on_tags(application, run):
        raise no_letters(application, missing)


def no_letters(application: str, letter_ids: Sequence[str]) -> JoinbackError:
    """Return the error that there are no letters of these ids."""
    what = "letter" if len(letter_ids) == 1 else "letters"
    return JoinbackError(f"no dead {what} {', '.join(letter_ids)}; see {command_line('dead list', application)}")
