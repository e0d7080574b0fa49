"""The way to a Redis Cluster: each slot of keys has a node. Nodes come, go, and hand slots to each other.

A node answers which node has each slot (`CLUSTER SLOTS`), or at a command which one has this slot (`MOVED`, `ASK`).
"""

import random
import time
from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot

from joinback._delivery.command import Command
from joinback.redis_errors import NodeDown, RedisRefusal, Unreachable
from joinback.redis_url import Address, shown_address

from .dialing import Dialer
from .link import Link
from .slots import SlotMap
from .troubles import Redirect

REDIRECTS_MAX = 5
"""A moving slot is two redirects away. If there are more, the cluster has not agreed yet, and the events wait."""
REST_S_MIN = 0.05
"""The least time to leave a node alone after a failed attempt. Else it is as long as the attempt took, so that a node
takes at most half of the sender's time."""


class Cluster:
    """See `Transport`."""

    def __init__(self, nodes: Sequence[Address], dial: Dialer) -> None:
        self._seeds = tuple(nodes)
        self._dial = dial
        self._slots = SlotMap()
        self._links: dict[Address, Link] = {}
        self._opening: Link | None = None
        self._aborted = False
        self._last_servers: dict[Address, str] = {}
        self._rests_until: dict[Address, float] = {}
        self._is_connected = False
        self._is_stale = True
        self.changes = 0

    @property
    def where(self) -> str:
        return ",".join(map(shown_address, self._seeds))

    @property
    def connected(self) -> bool:
        return self._is_connected

    def connect(self) -> None:
        self._rests_until.clear()
        self._aborted = False
        self._read_slots()
        self._is_connected = True

    def send(self, command: Sequence[bytes] | Command, key: bytes) -> Any:
        if self._is_stale:
            self._read_slots()
        slot = key_slot(key)
        address, asking = self._address_of(slot), False
        for _ in range(REDIRECTS_MAX):
            link = self._link(address)
            try:
                if asking:
                    # Without ASKING it would redirect us back: it does not own the slot yet.
                    link.call("ASKING")
                return link.send(command)
            except Redirect as redirect:
                to = (redirect.host or address[0], redirect.port)
                asking = redirect.code == "ASK"
            except RedisRefusal as refusal:
                # This says nothing about the other nodes.
                refusal.of_node = True
                # The node may have been demoted, or be cut off from the others.
                self._is_stale = self._is_stale or refusal.is_of_server
                raise
            except OSError as error:
                self._lose(address)
                raise NodeDown(f"the Redis Cluster's node at {link.where} does not answer ({_why(error)})") from None
            if not asking:
                self._slots.moved(slot, to)
                self._is_stale = True
                self.changes += 1
            address = to
        raise RedisRefusal("TRYAGAIN")

    def server_of(self, key: bytes) -> str:
        if self._is_stale:
            self._read_slots()
        return self._link(self._address_of(key_slot(key))).server

    def look(self, *, closely: bool = False) -> None:
        """Ask the connected nodes whether they are still there: with a lost node the last batches may be lost."""
        for address, link in list(self._links.items()):
            if not closely and not link.stirs():
                continue
            try:
                link.call("PING")
            except RedisRefusal:
                pass
            except OSError:
                self._lose(address)

    def disconnect(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._is_connected = False
        self._is_stale = True

    def abort(self) -> None:
        self._aborted = True
        for link in (self._opening, *list(self._links.values())):
            if link is not None:
                link.abort()

    # --- nodes ------------------------------------------------------------------------------------------

    def _address_of(self, slot: int) -> Address:
        # If no map names the node of a slot, any node names it by MOVED.
        return self._slots.address_of(slot) or next(iter(self._links), self._seeds[0])

    def _link(self, address: Address) -> Link:
        """Return the open connection to a node. Raises NodeDown; another OSError if it is about more than this node."""
        if (link := self._links.get(address)) is not None and link.is_open:
            return link
        where = shown_address(address)
        if time.monotonic() < self._rests_until.get(address, 0.0):
            # At the next attempt another node may have its slots.
            self._is_stale = True
            raise NodeDown(f"the Redis Cluster's node at {where} does not answer")
        link = self._opening = self._dial.link(address)
        began = time.monotonic()
        try:
            link.open()
        except OSError as error:
            self._lose(address, time.monotonic() - began)
            if isinstance(error, Unreachable) or not self._links:
                raise
            raise NodeDown(f"the Redis Cluster's node at {where} cannot be reached ({_why(error)})") from None
        finally:
            self._opening = None
        self._links[address] = link
        if self._last_servers.get(address) != link.server:
            self._last_servers[address] = link.server
            self.changes += 1
        return link

    def _lose(self, address: Address, took_s: float = 0.0) -> None:
        if (link := self._links.pop(address, None)) is not None:
            link.close()
        self._rests_until[address] = time.monotonic() + max(REST_S_MIN, took_s)
        self._is_stale = True
        self.changes += 1

    # --- slots ------------------------------------------------------------------------------------------

    def _read_slots(self) -> None:
        """Read the map of slots from one of the nodes, at best a connected one."""
        trouble: RedisRefusal | OSError | None = None
        for address in self._candidates():
            if self._aborted:
                self._aborted = False
                raise ConnectionError("aborted")
            try:
                link = self._link(address)
                reply = link.call("CLUSTER", "SLOTS")
            except RedisRefusal as refusal:
                if not refusal.at_login and refusal.code == "NOPERM":
                    # Without the map MOVED names the nodes, slot by slot.
                    self._is_stale = False
                    return
                trouble = trouble or _no_cluster(refusal, shown_address(address))
            except OSError as error:
                trouble = trouble or error
                self._lose(address)
            else:
                if self._slots.read(reply, address[0]):
                    self.changes += 1
                self._is_stale = False
                self._forget_others()
                return
        raise trouble or ConnectionError("no node of the cluster to ask")

    def _candidates(self) -> list[Address]:
        """Return the connected nodes, then the others; in random order, so that no wrong node is always the first."""
        connected = [address for address, link in self._links.items() if link.is_open]
        others = [a for a in {*self._slots.nodes, *self._seeds} if a not in self._links]
        return [*random.sample(connected, len(connected)), *random.sample(others, len(others))]

    def _forget_others(self) -> None:
        """Disconnect from nodes that have no slot any more."""
        if self._slots.primaries:
            for address in [a for a in self._links if a not in self._slots.primaries]:
                self._links.pop(address).close()


def _no_cluster(refusal: RedisRefusal, where: str) -> RedisRefusal | Unreachable:
    if refusal.at_login or refusal.code not in ("ERR", "UNKNOWN"):
        return refusal
    return Unreachable(f"{where} is not a node of a Redis Cluster; write redis:// instead of redis+cluster://")


def _why(error: OSError) -> str:
    return error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else "it hung up")
