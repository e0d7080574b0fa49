"""One command in Redis's protocol, as one piece of bytes.

redis-py's own packing looks at each argument; a batch has thousands, all of them bytes already.
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
    """The end of one argument, and the announcement of the next."""
    return b"\r\n$%d\r\n" % length
