"""Logins of the worker that rotate: the same callable as the client's, asked off the event loop and not for ever."""

import asyncio
import threading
from concurrent.futures import Future

from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError

from joinback.credentials import Credentials, ask, credentials_at
from joinback.redis_errors import Unreachable
from joinback.settings import Settings

ASK_S = 10.0
"""A service of tokens and its library's retries answer within; SIGTERM waits as long for a merge."""


class NoLogin(RedisConnectionError):
    """The credentials could not be had; the message says why, and holds nothing of them."""


class Login(CredentialProvider):
    """A callable for credentials, as redis-py asks for them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._asked: Future[tuple[str] | tuple[str, str]] | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes. Raises NoLogin: after an error that is none of its own redis-py stays connected."""
        try:
            return ask(self._credentials)
        except Unreachable as error:
            raise NoLogin(str(error)) from None

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As `get_credentials`, in a thread that nobody waits for if it hangs, at exit neither.

        Logins at one time are answered by one call, so calls that hang do not add up.
        """
        if self._asked is None or self._asked.done():
            self._asked = self._ask()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._asked), ASK_S)
        except TimeoutError:
            raise NoLogin(f"the callable for Redis's credentials has not answered within {ASK_S:.0f} s") from None

    def _ask(self) -> "Future[tuple[str] | tuple[str, str]]":
        answer: Future[tuple[str] | tuple[str, str]] = Future()
        # From now on no login that is cancelled cancels it for the others.
        answer.set_running_or_notify_cancel()

        def run() -> None:
            try:
                answer.set_result(self.get_credentials())
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, name="joinback-login", daemon=True).start()
        return answer


def credentials_of(settings: Settings) -> Credentials | None:
    """Return what JOINBACK_REDIS_CREDENTIALS names; None if it is not set. Raises ConfigurationError."""
    if settings.redis_credentials is None:
        return None
    return credentials_at(settings.redis_credentials, "JOINBACK_REDIS_CREDENTIALS")
