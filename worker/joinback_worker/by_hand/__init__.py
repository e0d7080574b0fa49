"""What a person does by a command to labels, dead letters and sinks."""
