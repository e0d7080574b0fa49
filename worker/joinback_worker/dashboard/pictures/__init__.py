"""The geometry of each picture: from figures to points, which a template writes as SVG. Pure."""
