"""Sphinx builds the documentation as a site: `nox -s docs`. Neither the build nor a page uses the network."""

project = "Joinback"
author = "The Joinback authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "Joinback"
# Anchors of headings are those of the forges.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# The pages show outputs, and SQL of several dialects. A block that no lexer knows stays plain.
suppress_warnings = ["misc.highlighting_failure"]
