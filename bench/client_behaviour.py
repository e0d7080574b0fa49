"""One peer in a bad moment: run by bench/client.py as a process of its own, which then looks at the backend.

python bench/client_behaviour.py NAME CASE BACKEND_URL
"""

import contextlib
import os
import sys
import time
from typing import Any

from client_payloads import LOAN
from client_peers import ENTRIES, Peer

INPUTS, OUTPUTS = LOAN

BEFORE_EXIT = 1_000
CHILD_EVENTS = 500
GOOD_EVENTS = 50
CHANGED_EVENTS = 20


class Unspeakable:
    """An object that raises whenever somebody wants to write it down."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def exit_while_it_hangs(peer: Peer) -> None:
    """Says when it has nothing more to do."""
    for n in range(BEFORE_EXIT):
        peer.log(f"last_{n}", INPUTS, OUTPUTS)
    print(time.time(), flush=True)


def fork(peer: Peer) -> None:
    """A child logs and ends as a process usually does."""
    for n in range(50):
        peer.log(f"parent_{n}", INPUTS, OUTPUTS)
    child = os.fork()
    if child == 0:
        for n in range(CHILD_EVENTS):
            peer.log(f"child_{n}", INPUTS, OUTPUTS)
        sys.exit()
    os.waitpid(child, 0)
    peer.flush()


def bad_object(peer: Peer) -> None:
    """Three values that no encoder takes, and then good events."""
    circular: dict[str, Any] = {}
    circular["self"] = circular
    for bad in (circular, Unspeakable(), "\ud800"):
        with contextlib.suppress(Exception):
            peer.log("bad", {"x": bad}, OUTPUTS)
    for n in range(GOOD_EVENTS):
        peer.log(f"good_{n}", INPUTS, OUTPUTS)
    peer.flush()


def change(peer: Peer) -> None:
    """The caller goes on with its dict."""
    for n in range(CHANGED_EVENTS):
        inputs: dict[str, Any] = {"nested": {"mark": f"logged_{n}"}}
        peer.log(f"key-{n}", inputs, OUTPUTS)
        inputs["nested"]["mark"] = f"changed_{n}"
    peer.flush()


CASES = {"exit": exit_while_it_hangs, "fork": fork, "bad_object": bad_object, "change": change}

if __name__ == "__main__":
    CASES[sys.argv[2]](ENTRIES[sys.argv[1]].make(sys.argv[3]))
