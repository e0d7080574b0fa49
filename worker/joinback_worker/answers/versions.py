"""The name of a version in tables, sentences, options and addresses; predictions without one have a name too. Pure."""

from collections.abc import Iterable

NONE = "-"
"""The name of predictions without a version."""


def shown(version: str | None) -> str:
    """Return the name. An empty version, and one that looks like NONE, is in quotes."""
    if version is None:
        return NONE
    return f"'{version}'" if version in ("", NONE) else version


def said(version: str | None) -> str:
    """Return the name as a sentence has it: of predictions without a version also what it means."""
    return f"{NONE} (no version)" if version is None else shown(version)


def by_name(versions: Iterable[str | None]) -> dict[str, str | None]:
    """Return each name by which a person may choose one of the versions. A name as shown has precedence."""
    known = list(versions)
    return {one: one for one in known if one is not None} | {shown(one): one for one in known}


def order(version: str | None) -> tuple[bool, str]:
    """Return the key to sort by: predictions without a version come first."""
    return version is not None, version or ""
