"""Run a module or a script of Python that is killed by SIGKILL in one place, each time the same.

    python bench/alternatives_killed.py before|after FUNCTION -m MODULE [ARGUMENT ...]

It dies before or after the first call of that function, which may be a coroutine.
"""

import os
import pkgutil
import runpy
import signal
import sys
from collections.abc import Awaitable
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in(function: str, when: str) -> None:
    owner_name, _, attribute = function.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    inner = getattr(owner, attribute)

    async def last(work: Awaitable[Any]) -> None:
        await work
        die()

    def dying(*args: Any, **options: Any) -> Any:
        if when == "before":
            die()
        result = inner(*args, **options)
        if isinstance(result, Awaitable):
            return last(result)
        die()
        return None

    setattr(owner, attribute, dying)


def main() -> None:
    when, function, *command = sys.argv[1:]
    kill_in(function, when)
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
