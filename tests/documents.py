"""The documents as tests read them: their fenced blocks, and the rights that they give to users of Redis."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import joinback
from joinback.settings import Settings

ROOT = Path(__file__).parents[1]
REDIS = ROOT / "docs" / "how-to" / "redis.md"


def blocks(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return every page that a reader may open."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def rights(user: str) -> list[str]:
    """Return the rules that deploy/redis/users.acl gives to a user, as `ACL SETUSER` takes them."""
    lines = (ROOT / "deploy" / "redis" / "users.acl").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"user {user} ")]
    return line.split()[2:]


def rights_beside(beginning: str) -> list[list[str]]:
    """Return the rights of the one line in docs/how-to/redis.md that begins so, each code span of it as words."""
    (line,) = [line for line in REDIS.read_text().splitlines() if line.startswith(beginning)]
    return [span.split() for span in line.split("`")[1::2] if span.startswith("+")]


@pytest.fixture
def default_client(settings: Settings) -> Iterator[joinback.Client]:
    """The module's own client, on the test's server, as the code of a page uses it."""
    joinback.init(settings.redis_url, strict=True)
    yield joinback.default_client
    joinback.close()
