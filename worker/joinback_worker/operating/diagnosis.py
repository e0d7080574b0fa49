"""What a diagnosis is made of: everything that was tried, well or not."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from .findings import Finding, FindingName, finding

Area = Literal["settings", "rules", "redis", "rights", "workers", "clients", "sink", "applications", "probe"]


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


def well(area: Area, says: str) -> Tried:
    """Return that it is well."""
    return Tried(area=area, says=says)


def amiss(area: Area, name: FindingName, says: str, fix: str = "", application: str | None = None) -> Tried:
    """Return that it is not."""
    return of_finding(area, finding(name, says, fix, application))


def of_finding(area: Area, found: Finding) -> Tried:
    """Return a finding as something that was tried."""
    return Tried(area=area, says=found.says, finding=found)
