"""The worker's Lua scripts. Each is a file beside the module that runs it. Its header explains arguments and result."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

PACKAGE = Path(__file__).parents[1]


class Script:
    """A Lua file of this package, which is called by its hash. `name`: its path from the package's folder."""

    def __init__(self, name: str) -> None:
        self._text = (PACKAGE / name).read_text(encoding="utf-8")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str | bytes], arguments: Sequence[Any] = ()) -> Any:
        """Run it, and return Redis's reply. Raises what redis-py raises."""
        try:
            return await redis.execute_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # EVAL runs the script and keeps it in the server's cache.
            return await redis.execute_command("EVAL", self._text, len(keys), *keys, *arguments)
