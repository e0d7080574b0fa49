"""What Redis holds besides the events: notes that workers and clients leave for each other, and for people."""
