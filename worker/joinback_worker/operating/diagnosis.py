"""What a diagnosis consists of: each thing that was tried, and whether it works."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from .findings import Finding, FindingName, finding

Area = Literal["settings", "rules", "redis", "rights", "workers", "clients", "sink", "applications", "probe"]


class Tried(Struct, frozen=True, kw_only=True):
    """One thing that was tried."""

    area: Area
    says: str
    """The result in one line. Where there is a finding, it is the finding's own sentence."""
    finding: Finding | None = None
    """The problem; None if there is none."""


class Diagnosis(Struct, kw_only=True):
    """Everything that was tried, in the order of the areas."""

    at: datetime
    tried: list[Tried] = []

    @property
    def findings(self) -> list[Finding]:
        return [one.finding for one in self.tried if one.finding is not None]

    @property
    def troubles(self) -> list[Finding]:
        """The findings that make exit code 1."""
        return [one for one in self.findings if one.is_trouble]


def well(area: Area, says: str) -> Tried:
    """Return a try that found no problem."""
    return Tried(area=area, says=says)


def problem(area: Area, name: FindingName, says: str, fix: str = "", application: str | None = None) -> Tried:
    """Return a try that found this problem."""
    return of_finding(area, finding(name, says, fix, application))


def of_finding(area: Area, found: Finding) -> Tried:
    """Return a try that found what this finding reports."""
    return Tried(area=area, says=found.says, finding=found)
