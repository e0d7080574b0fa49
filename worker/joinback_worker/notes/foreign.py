"""What somebody else wrote in the place of our keys. Each has the command that makes room and keeps that value."""

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import NamedTuple

from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.connect import ask_each


class Foreign(NamedTuple):
    """What somebody else wrote among the counters, or in the place of a key."""

    says: str
    does: str
    """What to do, in words."""
    command: str
    """The command of Redis that does it."""

    @property
    def line(self) -> str:
        return f"{self.says}; {self.does}: {self.command}"


KINDS: Mapping[str, str] = {
    wire.APPLICATIONS_KEY: "hash",
    wire.LAYOUTS_KEY: "hash",
    wire.RULES_KEY: "hash",
    wire.WORKERS_KEY: "hash",
    wire.DRAINS_KEY: "hash",
    wire.SINK_KEY: "hash",
    wire.DROPS_KEY: "stream",
}
"""The keys of no single application, and their types. `joinback:paused` is not one of them: a worker deletes whatever
stands there."""


def in_its_place(key: str, kind: bytes, wanted: str) -> Foreign:
    """Return that a value of another type stands at a key."""
    command = f"RENAME {quote(key)} {quote(f'foreign:{key}')}"
    return Foreign(f"{key} is a {kind.decode()}, not a {wanted}", "rename it", command)


async def taken(redis: Redis, kinds: Mapping[str, str] = KINDS) -> dict[str, Foreign]:
    """Return what stands in the place of these keys (key -> its right type), by key.

    A key whose type Redis does not tell, as for a login without that right, counts as ours.
    """
    answers: Sequence[object] = await ask_each(redis, [("TYPE", key) for key in kinds])
    return {
        key: in_its_place(key, kind, wanted)
        for (key, wanted), kind in zip(kinds.items(), answers, strict=True)
        if isinstance(kind, bytes) and kind not in (b"none", wanted.encode())
    }
