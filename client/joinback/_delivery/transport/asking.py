"""How redis-py gets a caller's `credentials`: from a thread of their own, which blocks nobody if it hangs."""

import threading
import time

from redis.credentials import CredentialProvider

from joinback.credentials import Credentials, ask, shown
from joinback.redis_errors import Unreachable

ASK_S = 10.0
"""Long enough for a token service, with the retries of its library."""
FRESH_S = 10.0
"""How long a late answer may still be used: longer than a backoff, far shorter than the life of a token."""


class _Call:
    """One call of the callable. `woken` is set when it has ended, or when nobody waits for it any more."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.woken = threading.Event()
        self.answer: tuple[str] | tuple[str, str] | Unreachable | None = None
        self.ended_at = float("inf")

    def run(self) -> None:
        try:
            answer: tuple[str] | tuple[str, str] | Unreachable = ask(self._credentials)
        except Unreachable as error:
            answer = error
        except BaseException as error:
            answer = Unreachable(f"{shown(self._credentials)} raised {type(error).__name__}")
        self.ended_at = time.monotonic()
        self.answer = answer
        self.woken.set()


class Asked(CredentialProvider):
    """One thread waits for a call, and another may end the waiting. There is one call at a time, so that hanging calls
    do not pile up.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._call: _Call | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH. Raises Unreachable; at once, while a call that was given up still hangs."""
        call = self._call
        if call is None or time.monotonic() - call.ended_at > FRESH_S:
            call = self._call = self._begin()
        call.woken.wait(ASK_S)
        answer = call.answer
        if answer is None:
            call.woken.set()
            raise Unreachable(f"{shown(self._credentials)} does not answer; see what it waits for")
        self._call = None
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    def give_up(self) -> None:
        """From another thread: end the waiting for the call that is under way."""
        if (call := self._call) is not None:
            call.woken.set()

    def _begin(self) -> _Call:
        call = _Call(self._credentials)
        try:
            threading.Thread(target=call.run, name="joinback-login", daemon=True).start()
        except RuntimeError:
            # No thread can start while the interpreter ends (from Python 3.12 on), or if there are too many.
            call.run()
        return call
