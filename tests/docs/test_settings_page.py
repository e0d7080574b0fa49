"""docs/reference/settings.md does not lie: each variable, its default and its reader are the code's."""

import re
from typing import get_type_hints

from documents import ROOT

from joinback.settings import Settings, reader_of

PAGE = ROOT / "docs" / "reference" / "settings.md"


def test_the_settings_table() -> None:
    """Each variable, its default, who reads it and its meaning are the Struct's own."""
    table = dict(re.findall(r"^\| `(JOINBACK_\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    declared = {}
    for field in Settings.__struct_fields__:
        default = getattr(Settings(), field)
        description = _description(field)
        shown = "" if default is None else f"`{default}` "
        declared[f"JOINBACK_{field.upper()}"] = f"{shown}| {reader_of(field)} | {description}"
    assert table == declared


def _description(field: str) -> str:
    hint = get_type_hints(Settings, include_extras=True)[field]
    description: str = hint.__metadata__[0].description
    return description
