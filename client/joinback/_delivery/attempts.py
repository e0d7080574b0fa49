"""One attempt at Redis after another, and what each means for the events: who has to wait, and what is told of it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from joinback import log
from joinback.drops import DropReason
from joinback.options import Options
from joinback.redis_errors import OF_KEYS, NodeDown, RedisRefusal, Unreachable, advice

from .buffer import Buffered
from .rates import Rates
from .unwanted import Unwanted
from .writer import Writer

PAUSE_CHECK_S = 5.0
"""How often to ask whether Redis is nearly full; the worker answers once a cycle."""

RENEW_PAUSE_S = 1.0
"""Between two attempts when nothing is written: one that fails at once must not be tried again at once."""

_PAUSED = "Redis is nearly full, so predictions wait in the buffer; see joinback status"
_WRONG_TYPE = "a record's key holds something that is not a hash; find it with TYPE and delete it"
_REDIS = ""
"""Whose trouble it is, when it is everybody's: no application is named so."""

Dropped: TypeAlias = dict[DropReason, int]
"""What Redis will not have, by reason."""
Trouble: TypeAlias = Literal["unreachable", "refused", "failed"]
"""Redis takes nothing from anybody; it refused these events; a fault of ours met them."""


class Attempts:
    """The sender's. Nothing here raises for anything Redis or the network does."""

    def __init__(self, options: Options, rates: Rates, unwanted: Unwanted) -> None:
        self._writer = Writer(options, rates, unwanted)
        self.failed = 0
        """How often in a row Redis was not reached; 0 while it is there, as far as is known."""
        self._renew_after = 0.0
        self.pause_at = 0.0
        """When to ask again whether Redis is nearly full."""
        self._is_paused = False
        self._since: float | None = None
        self._fault_at = 0.0
        self._troubles = log.Troubles()

    def write(self, application: str, events: Sequence[Buffered]) -> Dropped | Trouble:
        """Try once. Returns what Redis will not have of them; or why they wait."""
        try:
            with self._under_way():
                dropped = self._writer.write(application, events)
        except (OSError, RedisRefusal) as error:
            return self._refused(application, error)
        except Exception as error:
            self._writer.disconnect()
            self.fault(f"{len(events)} events wait", error)
            return "failed"
        self.failed = 0
        self._troubles.ends(_REDIS)
        if "wrong_type" in dropped:
            self._troubles.begins(application, _WRONG_TYPE)
        else:
            self._troubles.ends(application)
        return dropped

    def _refused(self, application: str, error: OSError | RedisRefusal) -> Trouble:
        if isinstance(error, NodeDown):
            # The other nodes of the cluster take what is theirs.
            return self._refused_here(application, error)
        if not isinstance(error, RedisRefusal) or error.is_server_wide:
            # After a failover the name leads elsewhere.
            self._writer.disconnect()
            self.failed += 1
            self._troubles.begins(_REDIS, advice(error, self._writer.where))
            return "unreachable"
        if error.code not in OF_KEYS and not error.of_node:
            self._writer.disconnect()
        return self._refused_here(application, error)

    def _refused_here(self, application: str, error: RedisRefusal | NodeDown) -> Trouble:
        self.failed = 0
        self._troubles.forget(_REDIS)
        self._troubles.begins(application, f"{advice(error)} (application {application!r})")
        return "refused"

    def fault(self, what_now: str, error: Exception) -> None:
        """Log a fault of ours: one that comes again and again may not fill the host's log."""
        if time.monotonic() >= self._fault_at:
            self._fault_at = time.monotonic() + log.REPEAT_S
            log.error("joinback: a fault in the sender; %s", what_now, fault=error)

    def is_paused(self) -> bool:
        """Whether the worker found Redis nearly full. Unanswered, the last answer stands."""
        if time.monotonic() >= self.pause_at:
            self.pause_at = time.monotonic() + PAUSE_CHECK_S
            try:
                with self._under_way():
                    paused = self._writer.is_paused()
            except NodeDown:
                pass
            except (RedisRefusal, OSError) as error:
                self._writer.disconnect()
                # It may be the last attempt, of which nobody else would tell why it failed.
                if isinstance(error, Unreachable):
                    self._troubles.begins(_REDIS, advice(error, self._writer.where))
            else:
                if paused != self._is_paused:
                    log.warning("joinback: %s", _PAUSED if paused else "Redis has room again")
                self._is_paused = paused
        return self._is_paused

    def renew_at(self) -> float:
        """When to call `renew` though nothing is written."""
        return max(self._writer.renew_at(), self._renew_after)

    def renew(self) -> None:
        """Announce again what was written, and tell what was dropped, if it is time; what fails is tried again."""
        if time.monotonic() >= self.renew_at():
            self._renew_after = time.monotonic() + RENEW_PAUSE_S
            try:
                with self._under_way():
                    self._writer.renew()
            except NodeDown:
                pass
            except (RedisRefusal, OSError):
                self._writer.disconnect()

    def abort(self, after_s: float) -> None:
        """From another thread: give up the attempt that is under way, if it has been for so long."""
        since = self._since
        if since is not None and time.monotonic() - since >= after_s:
            self._writer.abort()

    def end(self) -> None:
        """The last attempt was made."""
        with self._under_way():
            self._writer.end(connect=not self.failed)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
