"""Names of the figures, known without importing what makes them: the workflow lists them as files."""

from __future__ import annotations

FIGURES = ("scores", "contrasts", "distributions", "distributions_all", "picks", "false_negatives",
           "risk_hardness", "agreement", "calibration", "curves", "sensitivity", "heatmap", "budget")  # fmt: skip
"""Names of the figures, in the order of the report."""
