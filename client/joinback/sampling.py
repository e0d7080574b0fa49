"""Which join keys are in an application's sample: the same answer in every process and language."""

import hashlib

_ALL = 1 << 64


def keeps(application: str, join_key: str, rate: float) -> bool:
    """Whether this key is among the share `rate` (0 to 1) that is logged.

    The first 8 bytes of SHA-256 of `application NUL join_key` in UTF-8, as a big-endian number, are below
    `rate` of its range. So a prediction and its feedback agree, and a higher rate keeps all that a lower one
    keeps. (The shard comes from a CRC of the key; a CRC here would be tied to it.)
    """
    digest = hashlib.sha256(f"{application}\0{join_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < rate * _ALL


def verdict(application: str, join_key: str, rate: float | None) -> str:
    """Return what the published rate means for this key, in one line; `rate` is None where none was published.

    `join_key` is the key as it is stored: after `Hash("join_key")`, the pseudonym.
    """
    if rate is None:
        return "no prediction was announced yet, so everything is kept"
    if keeps(application, join_key, rate):
        return f"in the sample: {rate:g} of the keys of {application!r} are logged, and this is one"
    return f"sampled out: {rate:g} of the keys of {application!r} are logged, and this is none of them"
