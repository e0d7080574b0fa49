"""Join keys from the fields that identify a prediction, byte for byte as the Gantry SDK made them."""

import hashlib
import json
from datetime import datetime
from typing import Any
from uuid import UUID

# By name, not by type: numpy is never imported here.
_NUMPY_SCALARS = frozenset({"float32", "float64", "int32", "int64", "bool", "bool_"})


class JoinKey(str):
    """A join key: a str that `from_dict` can make from a dict. Any other str can be a join key too."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "JoinKey":
        """Return the MD5 of the fields as sorted JSON, 32 hex digits: the same as Gantry's `JoinKey.from_dict`.

        The MD5 is a name, not a security measure. Values may be those of JSON, UUID, datetime (a naive one is UTC) and
        numpy's float32, float64, int32, int64 and `bool_`. Raises TypeError for other values, and unless `fields` is a
        dict.
        """
        if not isinstance(fields, dict):
            raise TypeError(f"a join key is made from a dict, not from {type(fields).__name__}")
        text = json.dumps(fields, sort_keys=True, default=plain)
        return cls(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())


def plain(value: object) -> object:
    """Return a value that JSON can hold, as Gantry wrote it. Raises TypeError."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat() + ("Z" if value.tzinfo is None else "")
    if type(value).__module__ == "numpy" and type(value).__name__ in _NUMPY_SCALARS:
        return value.item()  # type: ignore[attr-defined]
    raise TypeError(f"a join key cannot hold a {type(value).__name__}; convert it to str, int or float")
