"""How a script of ours is run on a server: by its hash; loaded where it is not known; in full where neither may be."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from joinback import wire
from joinback.redis_errors import RedisRefusal

if TYPE_CHECKING:
    from .transport import Transport


class Script:
    """A script, and the hash by which a server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


WRITE, ANNOUNCE, NOTE, TELL_DROPS = map(
    Script, (wire.WRITE_SCRIPT, wire.ANNOUNCE_SCRIPT, wire.NOTE_SCRIPT, wire.TELL_DROPS_SCRIPT)
)


class Scripts:
    """Of one transport. Raises what its calls raise: RedisRefusal or OSError."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport
        self._in_full = False

    def forget(self) -> None:
        """The next server may allow what this one did not."""
        self._in_full = False

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        key = keys[0]
        rest = [b"%d" % len(keys), *keys, *arguments]
        if self._in_full:
            return self._transport.send([b"EVAL", script.text, *rest], key)
        try:
            return self._by_hash(script, rest, key)
        # A right is lacking, a command was renamed, or a proxy asks another server each time.
        except RedisRefusal as refusal:
            if refusal.code not in ("NOSCRIPT", "NOPERM", "UNKNOWN"):
                raise
            try:
                reply = self._transport.send([b"EVAL", script.text, *rest], key)
            except RedisRefusal as also:
                raise (also if also.code not in ("NOPERM", "UNKNOWN") else refusal) from None
            self._in_full = True
            return reply

    def _by_hash(self, script: Script, rest: list[bytes], key: bytes) -> Any:
        command = [b"EVALSHA", script.sha, *rest]
        try:
            return self._transport.send(command, key)
        except RedisRefusal as refusal:
            if refusal.code != "NOSCRIPT":
                raise
        # A new server, a restarted one, or somebody ran SCRIPT FLUSH.
        self._transport.send([b"SCRIPT", b"LOAD", script.text], key)
        return self._transport.send(command, key)
