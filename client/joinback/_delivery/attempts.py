"""The attempts to write to Redis, and what each result means: which events wait, and what the log says."""

import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from joinback import log, wire
from joinback.drops import DropReason
from joinback.options import Options
from joinback.redis_errors import OF_KEYS, NodeDown, RedisRefusal, Unreachable, advice

from .plain import Buffered
from .rates import Rates
from .unwanted import Unwanted
from .writer import Writer

PAUSE_CHECK_S = 5.0
"""How often to ask whether Redis is nearly full. The worker updates the answer once per drain."""

RENEW_PAUSE_S = 1.0
"""The time between two calls of `renew`: one that fails at once must not be tried again at once."""

_PAUSED = "Redis is nearly full, so predictions wait in the buffer; see joinback status"
_REDIS = ""
"""The key for trouble of all applications. No application has an empty name."""

Dropped: TypeAlias = dict[DropReason, int]
"""Reason -> how many events of a batch Redis will never have."""
Trouble: TypeAlias = Literal["unreachable", "refused", "failed"]
"""unreachable: Redis takes no events at all. refused: it refused these. failed: a fault of Joinback met them."""


def _wrong_type(application: str) -> str:
    """Return what is wrong, with the command that finds the key. Redis's answer does not name it."""
    # With any shard. A character that means something in a pattern is matched by any.
    keys = shlex.quote(wire.record_key(re.sub(r"[][*?^\\]", "?", wire.tag(application)) + "*", "*"))
    return (
        f"a record of {application!r} has a key in Redis that is not a hash, so its events are dropped; find it with"
        f" redis-cli --scan --type string --pattern {keys} (or --type list, set, zset, stream) and delete it"
    )


class Attempts:
    """Used by the sender's thread. No error of Redis or the network is raised here."""

    def __init__(self, options: Options, rates: Rates, unwanted: Unwanted) -> None:
        self._writer = Writer(options, rates, unwanted)
        self.failed = 0
        """How many attempts in a row did not reach Redis; 0 after one that did."""
        self._renew_after = 0.0
        self.pause_at = 0.0
        """The monotonic time to ask again whether Redis is nearly full."""
        self._is_paused = False
        self._since: float | None = None
        """When the attempt that is under way began."""
        self._fault_at = 0.0
        self._troubles = log.Troubles()

    def write(self, application: str, events: Sequence[Buffered]) -> Dropped | Trouble:
        """Try once to write events. Return how many Redis will never have, by reason; or the trouble, and they wait."""
        try:
            with self._under_way():
                dropped = self._writer.write(application, events)
        except (OSError, RedisRefusal) as error:
            return self._trouble_of(application, error)
        except Exception as error:
            self._writer.disconnect()
            self.fault(f"{len(events)} events wait", error)
            return "failed"
        self.failed = 0
        self._troubles.ends(_REDIS)
        if "wrong_type" in dropped:
            self._troubles.begins(application, _wrong_type(application))
        else:
            self._troubles.ends(application)
        return dropped

    def _trouble_of(self, application: str, error: OSError | RedisRefusal) -> Trouble:
        if isinstance(error, NodeDown):
            # The other nodes of the cluster still take their events.
            return self._refused(application, error)
        if not isinstance(error, RedisRefusal) or error.is_server_wide:
            # After a failover the name leads to another server.
            self._writer.disconnect()
            self.failed += 1
            self._troubles.begins(_REDIS, advice(error, self._writer.where))
            return "unreachable"
        if error.code not in OF_KEYS and not error.of_node:
            self._writer.disconnect()
        return self._refused(application, error)

    def _refused(self, application: str, error: RedisRefusal | NodeDown) -> Trouble:
        self.failed = 0
        self._troubles.forget(_REDIS)
        self._troubles.begins(application, f"{advice(error)} (application {application!r})")
        return "refused"

    def fault(self, what_now: str, error: Exception) -> None:
        """Log a fault of Joinback, at most once per minute: it must not fill the service's log."""
        if time.monotonic() >= self._fault_at:
            self._fault_at = time.monotonic() + log.REPEAT_S
            log.error("joinback: a fault in the sender; %s", what_now, fault=error)

    def is_paused(self) -> bool:
        """Return whether the worker found Redis nearly full. Without an answer, the last answer counts."""
        if time.monotonic() >= self.pause_at:
            self.pause_at = time.monotonic() + PAUSE_CHECK_S
            try:
                with self._under_way():
                    paused = self._writer.is_paused()
            except NodeDown:
                pass
            except (RedisRefusal, OSError) as error:
                self._writer.disconnect()
                # If this is the last attempt, nothing else logs why it failed.
                if isinstance(error, Unreachable | TimeoutError):
                    self._troubles.begins(_REDIS, advice(error, self._writer.where))
            else:
                if paused != self._is_paused:
                    log.warning("joinback: %s", _PAUSED if paused else "Redis has room again")
                self._is_paused = paused
        return self._is_paused

    def renew_at(self) -> float:
        """Return the monotonic time at which to call `renew`, if nothing is written before."""
        return max(self._writer.renew_at(), self._renew_after)

    def renew(self) -> None:
        """Announce applications again and report drops, if it is time. What fails is tried again later."""
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
        """From another thread: end the attempt that is under way, if it has taken `after_s` seconds."""
        since = self._since
        if since is not None and time.monotonic() - since >= after_s:
            self._writer.abort()

    def end(self) -> None:
        """Announce and report for the last time, if Redis can be reached, and disconnect."""
        with self._under_way():
            self._writer.end(connect=not self.failed)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
