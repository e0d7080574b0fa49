"""Rows as flat, typed columns: one per input, output and feedback field. Views, `joinback.read` and exports use it."""
