"""Logins of the worker with credentials that rotate.

They come from the same callable as the client's. It is called in a thread, so that the event loop goes on, and only for
a limited time.
"""

import asyncio
import threading
from concurrent.futures import Future

from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError

from joinback.credentials import Credentials, ask, credentials_at
from joinback.redis_errors import Unreachable
from joinback.settings import Settings

ASK_S = 10.0
"""How long a callable may take. A token service answers within it, retries of its library included; and SIGTERM waits
as long for a merge."""


class NoLogin(RedisConnectionError):
    """The credentials are not available. The message says why, and holds no part of them."""


class Login(CredentialProvider):
    """A callable for credentials in the form that redis-py asks for."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._asked: Future[tuple[str] | tuple[str, str]] | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH: (password,) or (user, password).

        Raises NoLogin, which is an error of redis-py's own: after any other it would keep the connection open.
        """
        try:
            return ask(self._credentials)
        except Unreachable as error:
            raise NoLogin(str(error)) from None

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return what `get_credentials` returns, asked for in a thread. Raises NoLogin, also after ASK_S seconds.

        If the callable hangs, nobody waits for the thread, not even the exit of the process.
        Logins at the same time share one call, so calls that hang do not add up.
        """
        if self._asked is None or self._asked.done():
            self._asked = self._ask()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._asked), ASK_S)
        except TimeoutError:
            raise NoLogin(f"the callable for Redis's credentials has not answered within {ASK_S:.0f} s") from None

    def _ask(self) -> "Future[tuple[str] | tuple[str, str]]":
        answer: Future[tuple[str] | tuple[str, str]] = Future()
        # From now on a login that is cancelled does not cancel the call for the others.
        answer.set_running_or_notify_cancel()

        def run() -> None:
            try:
                answer.set_result(self.get_credentials())
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, name="joinback-login", daemon=True).start()
        return answer


def credentials_of(settings: Settings) -> Credentials | None:
    """Return the callable that JOINBACK_REDIS_CREDENTIALS names; None if it is not set.

    Raises ConfigurationError if it cannot be loaded.
    """
    if settings.redis_credentials is None:
        return None
    return credentials_at(settings.redis_credentials, "JOINBACK_REDIS_CREDENTIALS")
