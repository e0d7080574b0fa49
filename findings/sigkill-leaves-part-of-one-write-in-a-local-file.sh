#!/usr/bin/env bash
# A process that is killed by SIGKILL in the middle of one write() leaves a part of it in a local file.
#
# One would guess: write() to a file on a local disk is not interrupted (signal(7) says so of local disk I/O), so a
# process that is killed leaves a whole append or none; a torn tail needs a power cut or a full disk.
# What happens on Linux: a write is copied in steps of one or more pages, and a fatal signal ends it between two of
# them. The file ends at a page's boundary, inside the one write. Of 30 kills amid appends of 8 MiB, 22 left a part, of
# 2, 4 or 6 MiB; amid appends of a batch of a thousand events, some 100 kB, 3 of 480 did.
# Versions: Linux 6.18.44, ext4; Python 3.11.7, msgspec 0.21.1.
# Date: 2026-11-29.
# Why it matters to those who join late feedback: predictions and labels that wait on disk while a server is away are
# appended in batches, and out-of-memory killers and `kill -9` end services in bad moments. A reader that takes each
# file for whole batches stops at the tail, or decodes half an event. Each batch needs its length and a checksum, and
# what is torn has to be counted as lost.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check msgspec==0.21.1 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/append.py" <<'PYTHON'
"""Append the same batch of events again and again, each by one write()."""

import os
import sys

import msgspec

events = [{"key": f"loan_{n}", "inputs": {f"feature_{i}": n * 1.25 for i in range(20)}} for n in range(20_000)]
batch = msgspec.msgpack.encode(events)[: 8 << 20].ljust(8 << 20, b" ")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
print("ready", flush=True)
while True:
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    for _ in range(8):
        assert os.write(file, batch) == len(batch)
PYTHON

cat >"$folder/kill.py" <<'PYTHON'
import os
import platform
import random
import subprocess
import sys
import time

RUNS, BATCH, PAGE = 30, 8 << 20, os.sysconf("SC_PAGESIZE")
script, place = sys.argv[1:]
chance = random.Random(1)
parts = []
for _ in range(RUNS):
    with subprocess.Popen([sys.executable, script, place], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(chance.random() / 20)
        process.kill()
    parts.append(os.stat(place).st_size % BATCH)
torn = [part for part in parts if part]
system = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True).stdout.strip()
print(f"Linux {platform.release()}, {system}, pages of {PAGE} bytes, Python {platform.python_version()}")
print(f"{RUNS} processes killed while they append batches of {BATCH} bytes, each by one write():")
print(f"  {len(torn)} left a part of a batch, of {min(torn, default=0)} to {max(torn, default=0)} bytes")
print(f"  {sum(part % PAGE == 0 for part in torn)} of these parts end at a page's boundary")
if not torn or any(part % PAGE for part in torn):
    sys.exit("This has changed: no kill tore a write, or not between two pages")
print("One write() of a killed process may be in the file in part.")
PYTHON

"$folder/venv/bin/python" "$folder/kill.py" "$folder/append.py" "$folder/spool"
