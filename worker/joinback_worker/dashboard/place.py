"""The address of a page: everything a person chose stands in it, so that a link shows another the same."""

from collections.abc import Sequence
from urllib.parse import urlencode

from msgspec import Struct
from starlette.requests import Request

from joinback.errors import ConfigurationError

EVERY_S = (0, 5, 10, 30, 60)
"""How often a page refreshes, in seconds; 0: it is paused."""
EVERY_S_DEFAULT = 10
"""A worker drains every five minutes; ten seconds show a queue that grows before anybody asks."""


class Place(Struct, frozen=True, kw_only=True):
    """One address. Links go without scheme and host: a proxy in front may have others."""

    path: str
    parameters: Sequence[tuple[str, str]] = ()
    root: str = ""
    """What a proxy puts before each path."""

    @classmethod
    def of(cls, request: Request) -> "Place":
        root = request.scope["root_path"]
        said = [(name, value) for name, value in request.query_params.multi_items() if value]
        return cls(path=request.scope["path"].removeprefix(root) or "/", parameters=said, root=root)

    def get(self, name: str) -> str | None:
        return next((value for said, value in self.parameters if said == name), None)

    def all(self, name: str) -> list[str]:
        return [value for said, value in self.parameters if said == name]

    def wanted(self, name: str) -> str:
        """Return what must be said. Raises ConfigurationError."""
        value = self.get(name)
        if value is None:
            raise ConfigurationError(f"the address lacks {name}=…")
        return value

    def number(self, name: str) -> float | None:
        """Return a number above 0, or None if there is none. Raises ConfigurationError."""
        text = self.get(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise ConfigurationError(f"{name}={text} is no number above 0")
        return value

    @property
    def every_s(self) -> int:
        """How often the page refreshes. Raises ConfigurationError."""
        text = self.get("every")
        if text is None:
            return EVERY_S_DEFAULT
        if text not in map(str, EVERY_S):
            raise ConfigurationError(f"every={text}: may be {', '.join(map(str, EVERY_S))}; 0 pauses")
        return int(text)

    @property
    def here(self) -> str:
        return self.to(self.path, *self.parameters)

    def to(self, path: str, *parameters: tuple[str, str]) -> str:
        """Return a link to another page."""
        return f"{self.root}{path}" + (f"?{urlencode(parameters)}" if parameters else "")

    def with_(self, **changes: object) -> str:
        """Return a link to this page with other choices; None takes one away."""
        kept = [(name, value) for name, value in self.parameters if name not in changes]
        said = [(name, str(value)) for name, value in changes.items() if value is not None]
        return self.to(self.path, *kept, *said)
