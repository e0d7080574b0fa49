"""The geometry of each picture, from figures to the points that a template writes as SVG. Pure."""
