"""JSON as one line, for files and pipes that are read line by line."""

import msgspec


def one_line(encoded: bytes) -> bytes:
    """Return this JSON with its line feed. A producer's own JSON is carried through, and may stand on several lines."""
    if b"\n" in encoded or b"\r" in encoded:
        encoded = msgspec.json.format(encoded, indent=-1)
    return encoded + b"\n"
