"""Names of the files that tell of a series."""

FIGURE = "series"
TABLES = ("main", "differences", "losses", "worlds")
"""Each is written as ``.html``, ``.md``, ``.tex`` and ``.csv``."""
