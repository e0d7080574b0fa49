"""A command in Redis's protocol, as the pieces of bytes in which it goes over the wire.

redis-py's own packing checks the type of each argument, one after another. A batch has thousands of arguments, all of
them bytes or text, so here each step is one loop in C over all of them.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

HEADS_MAX = 4_096
"""So many lengths are written once and kept, some 300 KB: nearly all that keys, fields and most events have."""
PREFIXES_MAX = 256
"""As many tags as a process has at work, for each of which some dozen lengths of keys are kept."""


class Command:
    """A command that grows, argument by argument. It can be sent more than once."""

    __slots__ = ("_count", "_pieces", "_start")

    def __init__(self, arguments: Sequence[bytes] = ()) -> None:
        self._count = 0
        self._start = b""
        """The first arguments, if others were put before those that are in pieces."""
        self._pieces = [b""]
        """Of the arguments, after a place for what `packed` writes before them."""
        self.add(arguments)

    def add(self, arguments: Sequence[bytes]) -> None:
        """Add arguments at the end."""
        self.add_pieces(len(arguments), chain.from_iterable(zip(heads(map(len, arguments)), arguments, strict=True)))

    def add_texts(self, prefix: str, texts: Sequence[str]) -> None:
        """Add arguments at the end, each a text with this prefix before it, in UTF-8."""
        text_heads = map(_text_heads(prefix).__getitem__, map(len, texts))
        joined = "".join(chain.from_iterable(zip(text_heads, texts, strict=True)))
        # Only in ASCII there are as many bytes as characters.
        if joined.isascii():
            self.add_pieces(len(texts), (joined.encode(),))
        else:
            self.add([(prefix + text).encode() for text in texts])

    def add_pieces(self, count: int, pieces: Iterable[bytes]) -> None:
        """Add so many arguments at the end, as pieces. The first piece of each argument is its head; see `heads`."""
        self._count += count
        self._pieces.extend(pieces)

    def after(self, arguments: Sequence[bytes]) -> "Command":
        """Return a command of these arguments and then those of this one. Neither can grow any more."""
        longer = Command()
        longer._count = len(arguments) + self._count
        longer._start = b"".join([*chain.from_iterable(zip(heads(map(len, arguments)), arguments, strict=True))])
        longer._pieces = self._pieces
        return longer

    def packed(self) -> bytes:
        """Return the command as it goes over the wire."""
        # In place: the list may have ten thousand pieces, and a new one would cost as much as joining them.
        self._pieces[0] = b"*%d%b" % (self._count, self._start)
        self._pieces.append(b"\r\n")
        packed = b"".join(self._pieces)
        self._pieces.pop()
        return packed


def heads(lengths: Iterable[int]) -> Iterable[bytes]:
    """Return what stands before arguments of these lengths: the end of the one before, and the argument's length."""
    return map(_heads.__getitem__, lengths)


class _Heads(dict[int, bytes]):
    """Length -> what stands before an argument of that length."""

    def __missing__(self, length: int) -> bytes:
        head = b"\r\n$%d\r\n" % length
        if len(self) < HEADS_MAX:
            self[length] = head
        return head


_heads = _Heads()


class _TextHeads(dict[int, str]):
    """Length of an ASCII text without its prefix -> what stands before that text, its prefix included."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, length: int) -> str:
        head = self[length] = f"\r\n${len(self._prefix) + length}\r\n{self._prefix}"
        return head


@lru_cache(PREFIXES_MAX)
def _text_heads(prefix: str) -> _TextHeads:
    return _TextHeads(prefix)
