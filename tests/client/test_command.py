"""A command's bytes are those of Redis's protocol, whatever it is put together from."""

from hypothesis import given
from hypothesis import strategies as st

from joinback._delivery.command import HEADS_MAX, Command, _heads

arguments = st.lists(st.binary(max_size=40), max_size=6)
texts = st.lists(st.text(max_size=12) | st.text("abc", max_size=40), max_size=6)


def in_protocol(*parts: bytes) -> bytes:
    """The command as Redis's documentation writes it."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


@given(arguments, arguments)
def test_arguments_one_after_the_other(first: list[bytes], more: list[bytes]) -> None:
    """Arguments that come later stand behind, and a command may be sent again."""
    command = Command(first)
    command.add(more)
    assert command.packed() == command.packed() == in_protocol(*first, *more)


@given(st.text(max_size=8), texts, arguments)
def test_texts_with_a_prefix(prefix: str, added: list[str], more: list[bytes]) -> None:
    """A text counts in bytes of UTF-8, its prefix with it."""
    command = Command()
    command.add_texts(prefix, added)
    command.add(more)
    assert command.packed() == in_protocol(*((prefix + text).encode() for text in added), *more)


@given(arguments, arguments, arguments)
def test_what_is_put_before(first: list[bytes], other: list[bytes], rest: list[bytes]) -> None:
    """The same arguments go behind one start and behind another: by hash, then as full text."""
    command = Command(rest)
    longer, other_one = command.after(first), command.after(other)
    assert longer.packed() == in_protocol(*first, *rest)
    assert other_one.packed() == in_protocol(*other, *rest)
    assert longer.packed() == in_protocol(*first, *rest)
    assert command.packed() == in_protocol(*rest)


def test_lengths_are_not_remembered_without_end() -> None:
    """Whatever lengths events have, the memory for their heads is bounded, and the longest are right too."""
    for length in range(HEADS_MAX + 100):
        assert Command([b"x" * length]).packed() == in_protocol(b"x" * length)
    assert len(_heads) <= HEADS_MAX
