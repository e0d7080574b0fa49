#!/usr/bin/env bash
# ClickHouse's JSONExtractRaw puts a whole number beyond 64 bits in quotes; one number beyond a double empties all fields.
#
# One would guess: JSONExtractRaw gives a field as it stands in the document, and a number that is too large costs, at
# most, its own field.
# What happens: of {"a": 18446744073709551616} it gives "18446744073709551616", with quotes, and JSONType says String:
# exactly what both give of the text of these digits. A document with 1e400 in any field, which RFC 8259 allows, is not
# valid to isValidJSON; of every other field of it JSONExtractRaw, JSONHas and JSONExtractBool give nothing, 0 and 0,
# without an error.
# Versions: chdb 4.4.0 with chdb-core 26.9.0 (the ClickHouse that it prints).
# Date: 2026-11-30.
# Why it matters to those who join late feedback: outputs and labels are JSON of other people's services. A query that
# tells numbers from texts takes a large number for a text, and leaves it out of a mean. One far number in a field that
# nobody reads makes the label beside it look as if it had never come.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check chdb==4.4.0 chdb-core==26.9.0 2>"$folder/pip.log" || {
  cat "$folder/pip.log"
  exit 1
}

cat >"$folder/ask.py" <<'PYTHON'
import sys

import chdb


def ask(query):
    return str(chdb.query(query, "TSVRaw")).rstrip("\n").split("\t")


print("ClickHouse", *ask("SELECT version()"))
whole = '{"a": 18446744073709551616, "label": true}'
quoted = '{"a": "18446744073709551616", "label": true}'
far = '{"a": 1e400, "label": true}'
seen = {}
for document in (whole, quoted, far):
    seen[document] = ask(
        f"SELECT isValidJSON('{document}'), JSONExtractRaw('{document}', 'a'), toString(JSONType('{document}', 'a')),"
        f" JSONHas('{document}', 'label'), JSONExtractBool('{document}', 'label')"
    )
    valid, raw, kind, has_label, label = seen[document]
    print(f"{document}\n  valid {valid}, raw a {raw or 'empty'}, type {kind}, has label {has_label}, label {label}")
same = seen[whole] == seen[quoted] and seen[whole][1:3] == ['"18446744073709551616"', "String"]
emptied = seen[far][0] == "0" and seen[far][3:] == ["0", "0"]
sys.exit(0 if same and emptied else "it is no longer so")
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
echo "still so: a far number is quoted like a text, or takes every field of its document with it"
