"""The tables of the audit: their names and columns."""

from __future__ import annotations

from fne.audit.agreement import AGREEMENT
from fne.audit.calibrated import CALIBRATION, RELIABILITY
from fne.audit.judged import JUDGED
from fne.audit.popular import CONCENTRATION, POPULAR
from fne.audit.rates import AGES, EPOCHS, RISK

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
