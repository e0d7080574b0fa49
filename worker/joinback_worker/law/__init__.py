"""The join's law: from the events of one join key to its row. Pure: no I/O, no clock, no logging."""
