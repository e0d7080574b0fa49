"""A drain, from the inside out: a batch, a tag, a round of all tags, and when the next one is due."""
