"""What a deployment needs, tried: settings, Redis, workers, clients, sink and applications, each with what mends it."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from joinback.settings import Settings

from .findings import Finding
from .thresholds import Thresholds

Area = Literal["settings", "rules", "redis", "workers", "clients", "sink", "applications", "probe"]


class Tried(Struct, frozen=True, kw_only=True):
    """One thing that was tried."""

    area: Area
    says: str
    """What was found, in one line; the finding's own sentence where there is one."""
    finding: Finding | None = None
    """None: it is well."""


class Diagnosis(Struct, kw_only=True):
    """Everything that was tried, in the order of the areas."""

    at: datetime
    tried: list[Tried] = []

    @property
    def findings(self) -> list[Finding]:
        return [one.finding for one in self.tried if one.finding is not None]

    @property
    def troubles(self) -> list[Finding]:
        """What makes an exit code 1."""
        return [one for one in self.findings if one.is_trouble]


async def diagnose(settings: Settings, thresholds: Thresholds | None = None, *, probe: bool = False) -> Diagnosis:
    """Try everything, and leave nothing behind: but for the sink's table, which is made as a worker makes it.

    With `probe` a test record goes the whole way into the sink and is read back; it leaves one row per day there.
    Raises ConfigurationError for a sink URL nobody serves; every other trouble is a finding.
    """
    raise NotImplementedError
