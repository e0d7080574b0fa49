"""The one way to the service's log. If a log handler raises, the exception stops here.

A caller's thread logs a wrong call; the sender's thread logs the rest. Neither may fail because, for example, the disk
is full that a handler writes to.
"""

import contextlib
import logging
import re
import time
from collections.abc import Mapping

_logger = logging.getLogger("joinback")

REPEAT_S = 60.0
"""How often lasting trouble is logged again: an alarm over the last minutes of a log sees it, and no log fills up."""
MESSAGES_MAX = 20
"""Different messages per REPEAT_S: a person can read so many, and messages that always differ must not fill memory."""

# "an event of 1048999 bytes" and "an event of 2000000 bytes" count as one message.
_NUMBER = re.compile(r"\d+")


def words_of(error: BaseException) -> str:
    """Return the error's text; the name of its type if that fails, since it may be a class of the caller's."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def debug(message: str, *, fault: BaseException) -> None:
    """Log with the traceback of `fault`."""
    with contextlib.suppress(Exception):
        _logger.debug(message, exc_info=fault, stacklevel=2)


def info(message: str, *arguments: object) -> None:
    with contextlib.suppress(Exception):
        _logger.info(message, *arguments, stacklevel=2)


def warning(message: str, *arguments: object, fault: BaseException | None = None) -> None:
    """Log a warning, with the traceback of `fault` if there is one."""
    with contextlib.suppress(Exception):
        _logger.warning(message, *arguments, exc_info=fault, stacklevel=2)


def error(message: str, *arguments: object, fault: BaseException) -> None:
    with contextlib.suppress(Exception):
        _logger.error(message, *arguments, exc_info=fault, stacklevel=2)


class Troubles:
    """The trouble of each application, or of all. Logged when it begins, each minute while it lasts, and when it ends.

    The same trouble of several applications is logged as one. One thread uses it.
    """

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        """Whose -> what."""
        self._logged_at: dict[str, float] = {}
        """What -> when it was last logged."""
        self._open: set[str] = set()
        """Trouble whose end is still to be logged. If it ends within a minute of its last line, that is all."""

    def begins(self, whose: str, what: str) -> None:
        """Note that this trouble began, or lasts. Log it if it was not logged within a minute."""
        if self._now.get(whose, what) != what:
            self.forget(whose)
        self._now[whose] = what
        now = time.monotonic()
        if now - self._logged_at.get(what, now - REPEAT_S) >= REPEAT_S:
            # Forget old texts, so that they do not pile up here.
            self._logged_at = {text: at for text, at in self._logged_at.items() if now - at < REPEAT_S}
            self._logged_at[what] = now
            self._open.add(what)
            warning("joinback: %s", what)

    def ends(self, whose: str) -> None:
        """Note that the trouble ended, if there was any. Log that if the trouble was logged and nobody else has it."""
        if self.forget(whose):
            warning("joinback: delivering again")

    def forget(self, whose: str) -> bool:
        """Drop the trouble without a line in the log. Return whether it was logged and nobody else has it."""
        what = self._now.pop(whose, None)
        if what is None or what in self._now.values() or what not in self._open:
            return False
        self._open.discard(what)
        return True


class Losses:
    """Logs what was dropped, at most once per minute: a line per event would be a second outage. One thread uses it."""

    def __init__(self) -> None:
        self._logged: dict[str, int] = {}
        self._log_at = 0.0

    def report(self, dropped: Mapping[str, int], *, now: bool = False) -> None:
        """Log the drops since the last line, if a minute has passed, or at once if `now`. `dropped` is by reason."""
        if dropped == self._logged or not any(dropped.values()):
            return
        if not now and time.monotonic() < self._log_at:
            return
        news = {reason: count - self._logged.get(reason, 0) for reason, count in dropped.items()}
        lost = ", ".join(f"{reason}={count}" for reason, count in news.items() if count)
        warning("joinback dropped %d events: %s", sum(news.values()), lost)
        self._logged = dict(dropped)
        self._log_at = time.monotonic() + REPEAT_S


class Complaints:
    """Remembers which messages were logged within a minute; their numbers do not matter. Any thread may use it."""

    def __init__(self) -> None:
        self._again_at: dict[str, float] = {}

    def is_due(self, message: str) -> bool:
        """Return whether to log this message now. If so, it counts as logged."""
        form, now = _NUMBER.sub("#", message), time.monotonic()
        if now < self._again_at.get(form, 0.0):
            return False
        if len(self._again_at) >= MESSAGES_MAX:
            self._again_at = {old: again_at for old, again_at in self._again_at.copy().items() if now < again_at}
            if len(self._again_at) >= MESSAGES_MAX:
                return False
        self._again_at[form] = now + REPEAT_S
        return True
