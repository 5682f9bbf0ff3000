"""Names of the tables, known without importing what makes them: the workflow lists them as files."""

from __future__ import annotations

TABLES = ("main", "contrasts", "configs", "tuning", "budget", "record", "published", "methods", "ablation",
          "calibration", "judged")  # fmt: skip
"""Names of the tables; each is written as ``.html``, ``.md``, ``.tex`` and ``.csv``."""
