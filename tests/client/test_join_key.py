"""JoinKey.from_dict against the vectors of Gantry's own tests."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from joinback import JoinKey

VECTORS = [
    ({"foo": "bar", "bar": "baz"}, "44258089824ec9db73fd592f418fbea1"),
    ({"foo": "bar", "bar": 10}, "01debdea5ba523b44164d202fbbe42da"),
    ({"bar": None, "foo": "bar"}, "ade3188c2cfeae4234e0b7b042b74c35"),
    ({"foo": True, "bar": 10.4321}, "294ca280f5485b49fec1247e5b45d644"),
    ({"bar": [1, 2, 3], "foo": {"another": "dict"}}, "152874e4c1db6061d5a45ee38c3eace0"),
]


@pytest.mark.parametrize(("fields", "expected"), VECTORS)
def test_vectors(fields: dict[str, Any], expected: str) -> None:
    """The key of a dict is the one that Gantry made."""
    assert JoinKey.from_dict(fields) == expected
    assert JoinKey.from_dict(dict(reversed(fields.items()))) == expected


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (datetime(2026, 1, 2, 3, 4, 5), '"2026-01-02T03:04:05Z"'),  # noqa: DTZ001 - naive is the case
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05+00:00"'),
        (np.float64(0.5), "0.5"),
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.int32(3), "3"),
        (np.bool_(True), "true"),
        ("é", '"\\u00e9"'),
    ],
)
def test_values(value: object, as_json: str) -> None:
    """Values beyond JSON's own are hashed as Gantry's encoder wrote them."""
    assert JoinKey.from_dict({"a": value}) == _md5('{"a": ' + as_json + "}")


@pytest.mark.parametrize("value", [object(), b"x", {1, 2}, np.float16(1)])
def test_other_values_are_refused(value: object) -> None:
    """A value that Gantry refused is refused with a TypeError that names its type."""
    with pytest.raises(TypeError, match=type(value).__name__):
        JoinKey.from_dict({"a": value})


@pytest.mark.parametrize("fields", ["a", None, [("a", 1)]])
def test_only_dicts(fields: Any) -> None:
    """Anything but a dict is a TypeError."""
    with pytest.raises(TypeError):
        JoinKey.from_dict(fields)
