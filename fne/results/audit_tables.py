"""The tables of the audit: their names and columns."""

from __future__ import annotations

from fne.analysis.most_picked import CONCENTRATION, POPULAR
from fne.analysis.pick_overlap import AGREEMENT
from fne.analysis.rates import AGES, EPOCHS, RISK
from fne.results.calibrated import CALIBRATION, RELIABILITY
from fne.results.human_annotations import JUDGED

TABLES = {
    "audit_epochs.csv": EPOCHS,
    "audit_risk.csv": RISK,
    "audit_agreement.csv": AGREEMENT,
    "audit_popular.csv": POPULAR,
    "audit_concentration.csv": CONCENTRATION,
    "audit_ages.csv": AGES,
    "audit_judged.csv": JUDGED,
    "calibration.csv": CALIBRATION,
    "calibration_bins.csv": RELIABILITY,
}
"""What is written, and its columns; a variant without runs or picks has no row."""
