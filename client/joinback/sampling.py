"""Which join keys are in an application's sample. The answer is the same in every process and language."""

import hashlib

_ALL = 1 << 64


def keeps(application: str, join_key: str, rate: float) -> bool:
    """Return whether this key is in the sample of the share `rate`, from 0 to 1.

    It is if the first 8 bytes of SHA-256(`application`, NUL, `join_key`, in UTF-8), as a big-endian number, are below
    `rate` * 2**64. So a prediction and its feedback get the same answer, and a higher rate keeps all keys that a lower
    one keeps. It is not the CRC-32 that chooses a key's shard: with that, a sample would lie in some shards only.
    """
    digest = hashlib.sha256(f"{application}\0{join_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < rate * _ALL


def verdict(application: str, join_key: str, rate: float | None) -> str:
    """Return one line on what the published rate means for this key. `rate` is None if none was published.

    `join_key` is the key as it is stored: with a `Hash("join_key")` rule, the pseudonym.
    """
    if rate is None:
        return "no prediction was announced yet, so everything is kept"
    if keeps(application, join_key, rate):
        return f"in the sample: {rate:g} of the keys of {application!r} are logged, and this is one of them"
    return f"sampled out: {rate:g} of the keys of {application!r} are logged, and this is not one of them"
