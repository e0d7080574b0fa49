#!/usr/bin/env bash
# A read-only look at an SQLite file in WAL mode leaves two files behind; a normal connection leaves none.
#
# One would guess: a connection opened with mode=ro writes nothing, so whoever may only look can look at the sink
# of a worker, and the folder is afterwards as it was.
# What happens: the folder has joinback.db-wal and joinback.db-shm after the reader has closed, owned by the reader.
# A connection that may write makes the same two files, and removes them when it closes. With immutable=1 the reader
# makes none, but then sees nothing that stands in a -wal file.
# Versions: pysqlite3-binary 0.5.4 (the SQLite it prints), and the interpreter's own SQLite beside it.
# Date: 2026-11-28.
# Why it matters to those who join late feedback: the rows of an embedded sink are looked at by other users than the
# worker's. In a folder that both may write, the worker then meets a -shm file that is not its own, and its next merge
# of late labels fails: "attempt to write a readonly database" (seen with 3.40.1), until somebody deletes the file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pysqlite3-binary==0.5.4 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/look.py" <<'PYTHON'
import sqlite3 as own
import sys
from contextlib import closing
from pathlib import Path

import pysqlite3 as packaged

folder = Path(sys.argv[1])
surprised = []
for name, sqlite in (("interpreter", own), ("package", packaged)):
    place = folder / name
    place.mkdir()
    file = place / "sink.db"
    with closing(sqlite.connect(str(file))) as worker:
        worker.execute("PRAGMA journal_mode = WAL")
        worker.execute("CREATE TABLE records (join_key TEXT PRIMARY KEY, feedback TEXT)")
        worker.execute("INSERT INTO records VALUES ('loan_17', '{\"repaid\": true}')")
        worker.commit()

    def after(uri):
        with closing(sqlite.connect(uri, uri=True)) as reader:
            assert reader.execute("SELECT count(*) FROM records").fetchone() == (1,)
        return sorted(path.name for path in place.iterdir())

    at_rest = sorted(path.name for path in place.iterdir())
    writing = after(f"file:{file}")
    immutable = after(f"file:{file}?mode=ro&immutable=1")
    reading = after(f"file:{file}?mode=ro")
    print(f"SQLite {sqlite.sqlite_version} of the {name}")
    print(f"  after the worker closed:              {at_rest}")
    print(f"  after a look that may write:          {writing}")
    print(f"  after a look with mode=ro, immutable: {immutable}")
    print(f"  after a look with mode=ro:            {reading}")
    surprised.append(at_rest == writing == immutable == ["sink.db"] and len(reading) == 3)
sys.exit(0 if all(surprised) else "it is no longer so")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
echo "still so: mode=ro leaves -shm and -wal behind"
