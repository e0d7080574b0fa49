"""Which node of a cluster has which slot, as far as is known."""

from typing import Any, NamedTuple

from joinback.redis_errors import BrokenReply
from joinback.redis_url import Address


class _Span(NamedTuple):
    first: int
    last: int
    address: Address


class SlotMap:
    """The map from slots to nodes: all from `CLUSTER SLOTS`, single ones from `MOVED`."""

    def __init__(self) -> None:
        self._spans: tuple[_Span, ...] = ()
        self._known: dict[int, Address] = {}
        """Slot -> node, for slots that were asked for or moved. Each application has one slot, or a few."""
        self.nodes: frozenset[Address] = frozenset()
        """All nodes of the last map, also replicas."""

    @property
    def primaries(self) -> frozenset[Address]:
        return frozenset(span.address for span in self._spans)

    def address_of(self, slot: int) -> Address | None:
        """Return the node that has the slot; None if it is not known."""
        known = self._known.get(slot)
        if known is None:
            known = next((span.address for span in self._spans if span.first <= slot <= span.last), None)
            if known is not None:
                self._known[slot] = known
        return known

    def moved(self, slot: int, address: Address) -> None:
        self._known[slot] = address

    def read(self, reply: Any, asked_host: str) -> bool:
        """Read the answer to `CLUSTER SLOTS`. Return whether it differs from the last one. Raises BrokenReply."""
        try:
            rows = [(int(first), int(last), [_address(n, asked_host) for n in nodes]) for first, last, *nodes in reply]
            spans = tuple(sorted(_Span(first, last, nodes[0]) for first, last, nodes in rows))
        except (ValueError, TypeError, IndexError):
            raise BrokenReply("the cluster's map cannot be read") from None
        differs = spans != self._spans
        self._spans = spans
        self._known.clear()
        self.nodes = frozenset(node for _, _, nodes in rows for node in nodes)
        return differs


def _address(node: Any, asked_host: str) -> Address:
    """Return the address of a node. A host that is null, empty or a question mark is the host that was asked."""
    host, port = node[0], node[1]
    if not isinstance(port, int) or not isinstance(host, bytes | None):
        raise TypeError
    return (asked_host if host in (None, b"", b"?") else host.decode()), port
