"""The documentation as a site, by Sphinx: `nox -s docs`. It asks no network when it is built or read."""

project = "Joinback"
author = "The Joinback authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "Joinback"
# Headings are linked to as forges make their anchors.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Outputs and SQL of several dialects: what no lexer knows stays as it is.
suppress_warnings = ["misc.highlighting_failure"]
