"""The worker's Lua scripts: each a file beside the module that runs it. Its header says what it takes and answers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

PACKAGE = Path(__file__).parents[1]


class Script:
    """A Lua file of this package, named from its top, run by its hash."""

    def __init__(self, name: str) -> None:
        self._text = (PACKAGE / name).read_text(encoding="utf-8")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str | bytes], arguments: Sequence[Any] = ()) -> Any:
        try:
            return await redis.execute_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # EVAL runs it and leaves it in the server's cache.
            return await redis.execute_command("EVAL", self._text, len(keys), *keys, *arguments)
