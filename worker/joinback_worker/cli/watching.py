"""A screen that is drawn again every two seconds until somebody presses q. In a pipe, screens follow each other."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live

from joinback_worker.connection.redis_errors import advice

from .terminal import terminal

EVERY_S = 2.0


async def watch(look: Callable[[], Awaitable[Sequence[RenderableType]]]) -> None:
    """Show what `look` returns, again and again until q or Ctrl-C. An error of Redis is shown, and does not end it."""
    console = terminal()
    ended = asyncio.Event()
    with _signals(), _keys(ended), _drawing(console) as draw:
        while not ended.is_set():
            try:
                shown: Sequence[RenderableType] = await look()
            except (RedisError, OSError) as error:
                shown = [advice(error)]
            draw(Group(*shown, "", f"every {EVERY_S:.0f} s; q ends"))
            try:
                await asyncio.wait_for(ended.wait(), EVERY_S)
            except TimeoutError:
                continue


@contextmanager
def _drawing(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    """Yield what draws a screen: at a terminal over the one before, else below it."""
    if not console.is_terminal:
        yield console.print
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield partial(live.update, refresh=True)


@contextmanager
def _signals() -> Iterator[None]:
    """End at SIGTERM and SIGINT, and leave the terminal as it was."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None or sys.platform == "win32":  # which has no such signals
        yield
        return
    received: list[signal.Signals] = []

    def end(sign: signal.Signals) -> None:
        received.append(sign)
        task.cancel()

    # By default SIGTERM would leave the terminal as it is, and a background job ignores SIGINT.
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, end, sign)
    try:
        yield
    except asyncio.CancelledError:
        if not received:
            raise
        sys.exit(128 + received[0])
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)


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
