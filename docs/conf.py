"""Sphinx builds the documentation as a site: `nox -s docs`. Neither the build nor a page uses the network."""

from typing import Any

project = "Joinback"
author = "The Joinback authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "Joinback"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Anchors of headings are those of the forges.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# The pages show outputs, and SQL of several dialects. A block that no lexer knows stays plain.
suppress_warnings = ["misc.highlighting_failure"]
# Quotation marks stay as they are, because most of them stand in code.
smartquotes = False


def setup(app: Any) -> None:
    """Let Sphinx show the indented examples of docstrings as code."""
    app.connect("autodoc-process-docstring", _mark_code)


def _mark_code(_app: Any, _what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    """Put `::` before each paragraph that is indented by four, in place, as reStructuredText wants it for code."""
    for number in range(len(lines) - 1, 1, -1):
        before, blank, line = lines[number - 2 : number + 1]
        is_begin = not blank and line.startswith("    ") and before and not before.startswith((" ", "- ", "|"))
        if is_begin and not before.endswith("::"):
            lines[number:number] = ["::", ""]
