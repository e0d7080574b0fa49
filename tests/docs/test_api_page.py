"""docs/reference/api.md does not lie: it has every public name of the package."""

from documents import ROOT

import joinback
from joinback import errors

PAGE = ROOT / "docs" / "reference" / "api.md"


def test_every_public_name_is_listed() -> None:
    """Each name that `joinback` exports has an entry; the errors come by their module."""
    text = PAGE.read_text()
    by_module = {name for name in joinback.__all__ if hasattr(errors, name)}
    listed = {name for name in joinback.__all__ if f":: {name}\n" in text}
    assert listed == set(joinback.__all__) - by_module - {"default_client"}
    assert ".. automodule:: joinback.errors" in text
