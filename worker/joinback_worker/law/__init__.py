"""The law of the join: how the events of one join key become its row. Pure: no I/O, no clock, no logging."""
