"""JSON on one line, for files and pipes whose readers read line by line."""

import msgspec


def one_line(encoded: bytes) -> bytes:
    """Return this JSON on one line, with a line feed. A producer's JSON may come on several lines."""
    if b"\n" in encoded or b"\r" in encoded:
        encoded = msgspec.json.format(encoded, indent=-1)
    return encoded + b"\n"
