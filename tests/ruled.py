"""Rules for tests: as a policy, and as the file that users write."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from joinback_worker.law.rules import Policy, Rules

Tables = Mapping[str, Any]
"""The keys of one application, as in the file."""


def policy(now: datetime | None = None, /, **application: Any) -> Policy:
    """Return what these keys of one application say; a window that is no whole number is for tests alone."""
    return Policy(msgspec.convert(application, Rules), now)


def reducing(**reducers: str) -> dict[str, Any]:
    """Return the key `feedback` that gives each field its reducer."""
    return {"feedback": {name: {"reducer": reducer} for name, reducer in reducers.items()}}


def file(folder: Path | str, /, **applications: Tables) -> str:
    """Return the path of a file that declares these applications: another one for other rules."""
    text = toml(applications)
    path = Path(folder) / f"joinback-{blake2b(text.encode(), digest_size=6).hexdigest()}.toml"
    path.write_text(text)
    return str(path)


def toml(applications: Mapping[str, Tables]) -> str:
    """Return the tables as TOML. JSON's texts, numbers, booleans and arrays are TOML's too."""
    return "\n".join(
        line for name, table in applications.items() for line in _table(f"applications.{_key(name)}", table)
    )


def _table(name: str, table: Tables) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {json.dumps(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _table(f"{name}.{_key(key)}", value)


def _key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name)
