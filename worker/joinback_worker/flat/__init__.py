"""Rows as flat, typed columns: one per input, output and feedback field. For views, `joinback.read` and exports."""
