"""Labels from where they live: a file or a query becomes feedback events, each line accounted for.

A source is read twice: first it is surveyed, so that what each column means is settled by all of its cells and said
before anything is written; then each line becomes a label, is looked for, and is told.
"""
