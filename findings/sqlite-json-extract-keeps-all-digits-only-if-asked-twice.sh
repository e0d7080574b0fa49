#!/usr/bin/env bash
# SQLite's json_extract rounds an integer beyond 64 bits, and gives all of its digits if it is asked for it twice.
#
# One would guess: json_extract gives the number that stands in the JSON, or an error where it cannot; and the same
# path asked once or twice in one call gives the same value once or twice.
# What happens: json_extract(doc, path) of 12345678901234567890123 is the real 1.2345678901234568e+22, without a word;
# json_extract(doc, path, path) is an array of the digits as they stand. Two ids that differ in their last digits are
# equal by the first, so a GROUP BY or a JOIN on it makes one of two.
# Versions: pysqlite3-binary 0.5.4 (the SQLite it prints), and the interpreter's own SQLite beside it.
# Date: 2026-11-29.
# Why it matters to those who join late feedback: account and trace ids of twenty digits and more are logged as numbers
# inside of predictions, and labels are matched on them later. By json_extract two accounts share one label.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pysqlite3-binary==0.5.4 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/ask.py" <<'PYTHON'
import sqlite3 as own
import sys

import pysqlite3 as packaged

ONE, OTHER = '{"account": 12345678901234567890123}', '{"account": 12345678901234567890124}'
PATH = "$.account"
surprised = []
for name, sqlite in (("interpreter", own), ("package", packaged)):
    database = sqlite.connect(":memory:")

    def ask(query, *arguments):
        return database.execute(query, arguments).fetchone()

    once = ask("SELECT json_extract(?, ?), typeof(json_extract(?, ?))", ONE, PATH, ONE, PATH)
    twice = ask("SELECT json_extract(?, ?, ?)", ONE, PATH, PATH)[0]
    equal = bool(ask("SELECT json_extract(?, ?) = json_extract(?, ?)", ONE, PATH, OTHER, PATH)[0])
    print(f"SQLite {sqlite.sqlite_version} of the {name}")
    print(f"  json_extract(doc, path):        {once[0]!r}, {once[1]}")
    print(f"  json_extract(doc, path, path):  {twice}")
    print(f"  two ids, last digit differs:    {'equal' if equal else 'different'}")
    digits = "12345678901234567890123"
    surprised.append(once[1] == "real" and twice == f"[{digits},{digits}]" and equal)
sys.exit(0 if all(surprised) else "it is no longer so")
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
echo "still so: once is rounded, twice is exact"
