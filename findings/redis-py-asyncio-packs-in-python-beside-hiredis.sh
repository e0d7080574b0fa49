#!/usr/bin/env bash
# redis-py's asyncio connections pack every command in Python, even where hiredis is installed.
#
# One would guess: with `redis[hiredis]` installed, both kinds of client use it to pack commands and to parse replies.
# What happens: the synchronous connection packs by hiredis. The asyncio connection only parses by it; it packs in a
# Python loop, which costs four to ten times as much CPU per argument. redis-py 8 does the same.
# Versions: redis-py 5.3.1 and 8.1.0, hiredis 3.5.0, Python 3.11.7.
# Date: 2026-11-29.
# Why it matters to those who join late feedback: a worker acknowledges and deletes entries by the thousand, so one
# batch has tens of thousands of arguments: ids, keys, fields. Their packing took a tenth of a worker's CPU, and no profile of the server
# shows it. A subclass whose pack_command calls hiredis removes it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/pack.py" <<'PYTHON'
import platform
import sys
import time
from unittest import mock

import hiredis
import redis
import redis.asyncio
import redis.connection

KEYS = [f"{{loans}}:record:loan_{n}" for n in range(1_000)]
COMMAND = ("UNLINK", *KEYS)


def us_per_argument(pack):
    """Return the least of twenty runs: CPU microseconds per argument."""
    runs = []
    for _ in range(20):
        began = time.thread_time()
        pack()
        runs.append(time.thread_time() - began)
    return min(runs) / len(COMMAND) * 1e6


plain, of_asyncio = redis.Connection(), redis.asyncio.Connection()
calls = {}
for name, connection in {"synchronous": plain, "asyncio": of_asyncio}.items():
    with mock.patch.object(hiredis, "pack_command", wraps=hiredis.pack_command) as packer:
        pack = connection.pack_command if name == "asyncio" else connection._command_packer.pack
        packed = b"".join(pack(*COMMAND))
    calls[name] = packer.call_count
    assert packed == hiredis.pack_command(COMMAND), "the bytes differ"
cost = {
    "synchronous": us_per_argument(lambda: plain._command_packer.pack(*COMMAND)),
    "asyncio": us_per_argument(lambda: of_asyncio.pack_command(*COMMAND)),
}
print(f"redis-py {redis.__version__}, hiredis {hiredis.__version__}, Python {platform.python_version()}")
for name, number in calls.items():
    print(f"  {name}: {number} calls of hiredis.pack_command, {cost[name]:.2f} us of CPU per argument")
print(f"  the same bytes, at {cost['asyncio'] / cost['synchronous']:.1f} times the cost")
if calls != {"synchronous": 1, "asyncio": 0}:
    sys.exit("This has changed: asyncio's connections pack by hiredis, or synchronous ones do not")
PYTHON

for version in 5.3.1 8.1.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q --disable-pip-version-check "redis==$version" hiredis==3.5.0 \
    2>"$folder/pip.log" || {
    cat "$folder/pip.log"
    exit 1
  }
  "$folder/$version/bin/python" "$folder/pack.py"
done
echo "asyncio's connections pack in Python, though hiredis is there."
