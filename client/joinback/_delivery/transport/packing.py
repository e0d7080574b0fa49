"""A command in Redis's protocol, as one bytes object.

redis-py's own packing checks the type of each argument. A batch has thousands of arguments, all of them bytes.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain


def packed(command: Sequence[bytes]) -> bytes:
    """Return the command as it goes over the wire."""
    heads = map(_head, map(len, command))
    pieces = chain.from_iterable(zip(heads, command, strict=True))
    return b"".join((b"*%d" % len(command), *pieces, b"\r\n"))


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    """Return the end of one argument and the length of the next."""
    return b"\r\n$%d\r\n" % length
