"""What a person does to labels, dead letters and sinks with a command."""
