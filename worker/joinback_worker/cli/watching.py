"""A screen that is drawn again every two seconds until somebody presses q. In a pipe, screens follow each other."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from redis.exceptions import RedisError
from rich.console import Group, RenderableType
from rich.live import Live

from joinback_worker.connection.redis_errors import advice

from .terminal import terminal

EVERY_S = 2.0


async def watch(look: Callable[[], Awaitable[Sequence[RenderableType]]]) -> None:
    """Show what `look` returns, again and again until q or Ctrl-C. An error of Redis is shown, and does not end it."""
    console = terminal()
    ended = asyncio.Event()
    with _keys(ended), Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while not ended.is_set():
            try:
                shown: Sequence[RenderableType] = await look()
            except (RedisError, OSError) as error:
                shown = [advice(error)]
            live.update(Group(*shown, "", f"every {EVERY_S:.0f} s; q ends"), refresh=True)
            try:
                await asyncio.wait_for(ended.wait(), EVERY_S)
            except TimeoutError:
                continue


@contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """Set the event when q is pressed, or when the input ends."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # not on every system
    import tty

    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed() -> None:
        if sys.stdin.read(1) in ("q", "Q", "\x03", "\x04", ""):
            ended.set()

    tty.setcbreak(terminal)
    loop.add_reader(terminal, pressed)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
