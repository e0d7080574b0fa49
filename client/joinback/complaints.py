"""What the log is told of wrong calls and settings: each thing once a minute at most, and not all things at once."""

import re
import time

from .drops import DropReason

COMPLAINT_S = 60.0
"""How often the same thing is told."""
MESSAGES_MAX = 20
"""A minute of the log can be read by a person; a message that differs each time must not fill memory."""

# "an event of 1048999 bytes" and "an event of 2000000 bytes" say the same.
_NUMBER = re.compile(r"\d+")


class Refused(Exception):
    """An event that will not be logged: counted under `reason`, explained in the log."""

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        self._again_at[form] = now + COMPLAINT_S
        return True


def words_of(error: BaseException) -> str:
    """Return the error's text, which may come from an object of the caller's; its type if it has none to tell."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__
