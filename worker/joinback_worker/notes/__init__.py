"""What stands in Redis beside the events: notes of workers and clients for each other, and for people."""
