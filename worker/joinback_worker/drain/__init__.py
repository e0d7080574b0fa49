"""The drain, from the inside out: of a batch, of a tag, of all tags in a round, and when the next round is due."""
