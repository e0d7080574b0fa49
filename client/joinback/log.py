"""Joinback's lines in the host's log, by one door: a handler of the host's that raises reaches nobody.

A caller's thread logs a wrong call, the sender's all the rest. Neither may end, or fail, because a disk is full
where a handler writes.
"""

import contextlib
import logging
import re
import time
from collections.abc import Mapping

_logger = logging.getLogger("joinback")

REPEAT_S = 60.0
"""How often what lasts is told: an alarm that sees a log of the last minutes sees it, and no log fills up."""
MESSAGES_MAX = 20
"""A minute of the log can be read by a person; a message that differs each time must not fill memory."""

# "an event of 1048999 bytes" and "an event of 2000000 bytes" say the same.
_NUMBER = re.compile(r"\d+")


def words_of(error: BaseException) -> str:
    """Return the error's text, which may come from an object of the caller's; its type if it has none to tell."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def debug(message: str, *, fault: BaseException) -> None:
    """With the traceback of `fault`, for who looks closer."""
    with contextlib.suppress(Exception):
        _logger.debug(message, exc_info=fault, stacklevel=2)


def info(message: str, *arguments: object) -> None:
    with contextlib.suppress(Exception):
        _logger.info(message, *arguments, stacklevel=2)


def warning(message: str, *arguments: object, fault: BaseException | None = None) -> None:
    """With the traceback of `fault`, if there is one."""
    with contextlib.suppress(Exception):
        _logger.warning(message, *arguments, exc_info=fault, stacklevel=2)


def error(message: str, *arguments: object, fault: BaseException) -> None:
    with contextlib.suppress(Exception):
        _logger.error(message, *arguments, exc_info=fault, stacklevel=2)


class Troubles:
    """What is wrong now, by whom it concerns: told when it begins, each minute while it lasts, and when it ends.

    Several that have the same trouble are told of as one. One thread uses it.
    """

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._told_at: dict[str, float] = {}
        self._told: set[str] = set()
        """Whose end is to be told too. One that comes and goes within a minute is told once."""

    def begins(self, whose: str, what: str) -> None:
        """It began, or goes on."""
        if self._now.get(whose, what) != what:
            self.forget(whose)
        self._now[whose] = what
        now = time.monotonic()
        if now - self._told_at.get(what, now - REPEAT_S) >= REPEAT_S:
            # What is long past need not be remembered, or text after text would gather here.
            self._told_at = {text: at for text, at in self._told_at.items() if now - at < REPEAT_S}
            self._told_at[what] = now
            self._told.add(what)
            warning("joinback: %s", what)

    def ends(self, whose: str) -> None:
        """It ended, if there was any."""
        if self.forget(whose):
            warning("joinback: delivering again")

    def forget(self, whose: str) -> bool:
        """Another trouble took its place. Returns whether it was told, and is nobody's any more."""
        what = self._now.pop(whose, None)
        if what is None or what in self._now.values() or what not in self._told:
            return False
        self._told.discard(what)
        return True


class Losses:
    """What was dropped, in one line per minute: a line per event would be a second outage. One thread uses it."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._tell_at = 0.0

    def tell(self, dropped: Mapping[str, int], *, now: bool = False) -> None:
        """Say what came since the last line, if it is time or `now`. `dropped` are the counts by reason."""
        if dropped == self._told or not any(dropped.values()):
            return
        if not now and time.monotonic() < self._tell_at:
            return
        news = {reason: count - self._told.get(reason, 0) for reason, count in dropped.items()}
        lost = ", ".join(f"{reason}={count}" for reason, count in news.items() if count)
        warning("joinback dropped %d events: %s", sum(news.values()), lost)
        self._told = dict(dropped)
        self._tell_at = time.monotonic() + REPEAT_S


class Complaints:
    """Remembers what was told lately, by its words without their numbers. Any thread may use it."""

    def __init__(self) -> None:
        self._again_at: dict[str, float] = {}

    def is_due(self, message: str) -> bool:
        """Whether to tell this now; then it counts as told."""
        form, now = _NUMBER.sub("#", message), time.monotonic()
        if now < self._again_at.get(form, 0.0):
            return False
        if len(self._again_at) >= MESSAGES_MAX:
            self._again_at = {told: again_at for told, again_at in self._again_at.copy().items() if now < again_at}
            if len(self._again_at) >= MESSAGES_MAX:
                return False
        self._again_at[form] = now + REPEAT_S
        return True
