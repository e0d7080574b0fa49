"""How a Lua script runs on a server: by its hash; loaded first if the server does not know it; else as full text."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joinback import wire
from joinback.redis_errors import RedisRefusal

from .command import Command

if TYPE_CHECKING:
    from .transport import Transport


class Script:
    """A script, and the hash by which a server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_HERE = Path(__file__).parent


def _in(folder: Path, name: str) -> Script:
    return Script((folder / name).read_text(encoding="utf-8"))


WRITE = Script(wire.WRITE_SCRIPT)
# Beside write.lua: a producer in another language runs both.
ANNOUNCE = _in(_HERE.parent, "announce.lua")
NOTE_SHARDS = _in(_HERE, "note_shards.lua")
REPORT_DROPS = _in(_HERE, "report_drops.lua")


class Scripts:
    """Runs scripts over one transport. Raises what the transport raises: RedisRefusal or OSError."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport
        self._in_full = False
        """Whether this server runs scripts as full text only."""

    def forget(self) -> None:
        """Try by hash again: the next server may allow it."""
        self._in_full = False

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """Return the script's reply. `keys` are all of one slot."""
        return self.call(script, Command([b"%d" % len(keys), *keys, *arguments]), keys[0])

    def call(self, script: Script, rest: Command, key: bytes) -> Any:
        """Return the script's reply. `rest` is the number of keys, the keys and the arguments; `key` is one of them."""
        if self._in_full:
            return self._transport.send(rest.after([b"EVAL", script.text]), key)
        try:
            return self._by_hash(script, rest, key)
        # A right is missing, a command was renamed, or a proxy asks another server each time.
        except RedisRefusal as refusal:
            if refusal.code not in ("NOSCRIPT", "NOPERM", "UNKNOWN"):
                raise
            try:
                reply = self._transport.send(rest.after([b"EVAL", script.text]), key)
            except RedisRefusal as also:
                raise (also if also.code not in ("NOPERM", "UNKNOWN") else refusal) from None
            self._in_full = True
            return reply

    def _by_hash(self, script: Script, rest: Command, key: bytes) -> Any:
        command = rest.after([b"EVALSHA", script.sha])
        try:
            return self._transport.send(command, key)
        except RedisRefusal as refusal:
            if refusal.code != "NOSCRIPT":
                raise
        # The server is new, was restarted, or somebody ran SCRIPT FLUSH.
        self._transport.send([b"SCRIPT", b"LOAD", script.text], key)
        return self._transport.send(command, key)
