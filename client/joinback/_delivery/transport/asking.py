"""A caller's `credentials`, as redis-py asks for them: in a thread of their own, which nobody waits for if it hangs."""

import threading
import time

from redis.credentials import CredentialProvider

from joinback.credentials import Credentials, ask, shown
from joinback.redis_errors import Unreachable

ASK_S = 10.0
"""A service of tokens and its library's retries answer within."""
FRESH_S = 10.0
"""How long an answer may be used that came when nobody waited any more: beyond a backoff, far below a token's life."""


class _Call:
    """One call. `woken` is set when it has ended, or when nobody waits for it any more."""

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
    """One thread asks, and another may give up. Calls that hang do not add up: there is one at a time."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._call: _Call | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes. Raises Unreachable; at once, while a call goes on that was given up."""
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
        """From another thread: wait no longer for the call that is under way."""
        if (call := self._call) is not None:
            call.woken.set()

    def _begin(self) -> _Call:
        call = _Call(self._credentials)
        try:
            threading.Thread(target=call.run, name="joinback-login", daemon=True).start()
        except RuntimeError:
            # No thread starts while the interpreter ends (from Python 3.12 on), or where there are too many.
            call.run()
        return call
