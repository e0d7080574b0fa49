"""redis-py's client of one server, with one call more: many hashes at once.

redis-py waits for each reply of a pipeline by itself, which costs the worker more than the rest of a drain, and a
script that asks for sizes first costs the server three times the plain commands. Here commands are written many at
once, and replies are taken as the socket brings them.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

WINDOW = 200
"""Hashes asked for before the ones asked for last have come: what Redis has to hold for a worker that reads slowly."""
READ_BYTES = 1 << 17
"""As much as asyncio holds for a reader."""


class TooLarge(Exception):
    """These hashes have more bytes than were asked for. The rest of them was not read."""


@runtime_checkable
class Hashes(Protocol):
    """Whoever gives many hashes at once."""

    async def hashes(self, keys: Sequence[bytes], bytes_max: int) -> list[Any]: ...


class Buffer(Redis):
    """One server, or the primary that Sentinels name."""

    async def hashes(self, keys: Sequence[bytes], bytes_max: int) -> list[Any]:
        """Return the fields and values of each of these hashes, one after the other, or the error that Redis answered.

        Raises TooLarge instead of reading more bytes than that, and what redis-py raises.
        """
        windows = [keys[first : first + WINDOW] for first in range(0, len(keys), WINDOW)]
        connection = await self.connection_pool.get_connection()
        replies = _Replies(connection, bytes_max)
        try:
            await _ask(connection, windows[0])
            for n, window in enumerate(windows):
                if n + 1 < len(windows):
                    await _ask(connection, windows[n + 1])
                await replies.take(len(window))
        except BaseException:
            # Replies may still be on their way.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self.connection_pool.release(connection)
        return replies.taken


async def _ask(connection: AbstractConnection, keys: Sequence[bytes]) -> None:
    packed = b"".join([b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys])
    await connection.send_packed_command(packed, check_health=False)


class _Replies:
    """Replies of a connection on which nothing else is asked meanwhile."""

    def __init__(self, connection: AbstractConnection, bytes_max: int) -> None:
        self._connection = connection
        self._stream: Any = connection._reader
        self._left = bytes_max
        self._parser = hiredis.Reader(notEnoughData=_NOT_YET)
        self.taken: list[Any] = []

    async def take(self, number: int) -> None:
        until = len(self.taken) + number
        try:
            async with asyncio.timeout(self._connection.socket_timeout):
                while len(self.taken) < until:
                    if (reply := self._parser.gets()) is _NOT_YET:
                        await self._read()
                    else:
                        self.taken.append(reply)
        except TimeoutError:
            raise RedisTimeoutError("no reply in time") from None
        except OSError as error:
            raise RedisConnectionError(f"while reading: {error}") from None

    async def _read(self) -> None:
        data = await self._stream.read(READ_BYTES)
        if not data:
            raise RedisConnectionError("closed by the server")
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge
        self._parser.feed(data)


_NOT_YET = object()
