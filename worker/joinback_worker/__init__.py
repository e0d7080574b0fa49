"""The worker: it claims what is pending in Redis, joins it, writes rows to a sink, and only then acknowledges."""
