"""How a URL is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinback.urls import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:canary@cache/0", "redis://…@cache/0"),
        ("rediss://user:canary@cache:6380/3?ssl_password=canary", "rediss://user:…@cache:6380/3?ssl_password=…"),
        ("redis://canary@cache/0", "redis://…@cache/0"),
        ("postgresql://user:first@canary@host/base", "postgresql://user:…@host/base"),
        ("postgresql://user:canary/canary?canary#canary@host/base", "postgresql://user:…@host/base"),
        ("postgresql://host/base?user=me&password=canary", "postgresql://host/base?user=…&password=…"),
        ("delta+s3://bucket/lake?AWS_SECRET_ACCESS_KEY=canary", "delta+s3://bucket/lake?AWS_SECRET_ACCESS_KEY=…"),
        ("sqlite:////var/lib/joinback.db", "sqlite:////var/lib/joinback.db"),
        (
            "postgresql://me:canary@/base?host=/run/a&sslpassword=canary",
            "postgresql://me:…@/base?host=/run/a&sslpassword=…",
        ),
        ("stdout:", "stdout:"),
        ("canary", "…"),
        ("redis://cache/%1b[31m", "redis://cache/\\x1b[31m"),
    ],
)
def test_a_shown_url(url: str, shown: str) -> None:
    """A URL is shown with scheme, user, place and the names of its options, and without any secret."""
    assert shown_url(url) == shown


@given(st.text("canry:/?#@%&=", min_size=1), st.sampled_from(["", "user"]))
def test_no_password_is_shown(password: str, user: str) -> None:
    """Whatever a password holds, encoded or not, nothing of it is shown."""
    assert shown_url(f"postgresql://{user}:{password}@host/base") == shown_url(f"postgresql://{user}:x@host/base")
