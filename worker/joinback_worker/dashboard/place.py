"""The address of a page. It contains everything a person chose, so a link shows the same page to others."""

from collections.abc import Sequence
from urllib.parse import urlencode

from msgspec import Struct
from starlette.requests import Request

from joinback.errors import ConfigurationError

EVERY_S = (0, 5, 10, 30, 60)
"""The seconds between refreshes that a page offers. 0: it is paused."""
EVERY_S_DEFAULT = 10
"""Short enough to show a growing queue soon. A worker drains only every five minutes."""


class Place(Struct, frozen=True, kw_only=True):
    """One address. Links have neither scheme nor host, since a proxy in front may have others."""

    path: str
    parameters: Sequence[tuple[str, str]] = ()
    root: str = ""
    """What a proxy puts before each path."""

    @classmethod
    def of(cls, request: Request) -> "Place":
        root = request.scope["root_path"]
        given = [(name, value) for name, value in request.query_params.multi_items() if value]
        return cls(path=request.scope["path"].removeprefix(root) or "/", parameters=given, root=root)

    def check(self) -> None:
        """Raise ConfigurationError for a NUL, at which stores would fail. No name and no key has one."""
        for name, value in self.parameters:
            if "\0" in value:
                raise ConfigurationError(f"{name}=… contains a NUL character, which no name and no key has")

    def get(self, name: str) -> str | None:
        return next((value for other, value in self.parameters if other == name), None)

    def all(self, name: str) -> list[str]:
        return [value for other, value in self.parameters if other == name]

    def wanted(self, name: str) -> str:
        """Return a parameter that the page needs. Raises ConfigurationError if it is missing."""
        value = self.get(name)
        if value is None:
            raise ConfigurationError(f"the address lacks {name}=…")
        return value

    def number(self, name: str) -> float | None:
        """Return a number, or None if there is none. Raises ConfigurationError for a text that is no number."""
        text = self.get(name)
        if text is None:
            return None
        try:
            return float(text)
        except ValueError:
            raise ConfigurationError(f"{name}={text} is not a number") from None

    @property
    def every_s(self) -> int:
        """Seconds between refreshes; 0: the page is paused. Raises ConfigurationError."""
        text = self.get("every")
        if text is None:
            return EVERY_S_DEFAULT
        if text not in map(str, EVERY_S):
            raise ConfigurationError(f"every={text}: it must be {', '.join(map(str, EVERY_S))}; 0 pauses")
        return int(text)

    @property
    def here(self) -> str:
        return self.to(self.path, *self.parameters)

    def to(self, path: str, *parameters: tuple[str, str]) -> str:
        """Return a link to another page."""
        return f"{self.root}{path}" + (f"?{urlencode(parameters)}" if parameters else "")

    def with_(self, **changes: object) -> str:
        """Return a link to this page with changed parameters. None removes one."""
        kept = [(name, value) for name, value in self.parameters if name not in changes]
        changed = [(name, str(value)) for name, value in changes.items() if value is not None]
        return self.to(self.path, *kept, *changed)
