"""Labels from where they live: a file or a query becomes feedback events, and each line is accounted for.

A source is read twice. The first reading surveys it: all cells of a column settle what the column means, which is
reported before anything is written. In the second reading each line becomes a label; its prediction is looked up, and
the label is sent to Redis.
"""
