"""Names of what a report consists of, known without importing what makes it: the workflow lists them as files."""

from __future__ import annotations

FIGURES = ("scores", "contrasts", "distributions", "distributions_all", "picks", "false_negatives",
           "risk_hardness", "agreement", "calibration", "curves", "sensitivity", "heatmap", "cost")  # fmt: skip
"""Names of the figures, in the order of the report."""
TABLES = ("main", "contrasts", "configs", "record", "published", "methods", "ablation", "calibration", "judged",
          "popular", "ages")  # fmt: skip
"""Names of the tables; each is written as ``.html``, ``.md``, ``.tex`` and ``.csv``."""
