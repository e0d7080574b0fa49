"""Opens a file as bytes, and unpacks it if its name says that it is packed."""

import gzip
from pathlib import Path
from typing import BinaryIO, cast


def opened(path: Path) -> BinaryIO:
    """Return a file of bytes, unpacked if its name ends in .gz. Raises OSError."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")
