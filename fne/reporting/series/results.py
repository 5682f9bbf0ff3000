"""What the comparison of a series left behind, read for its tables, figure and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne import paths
from fne.config import Series, load
from fne.configuration.variants import show
from fne.errors import bad_input
from fne.reporting.entries import read_table
from fne.reporting.wording import METRICS, clean
from fne.stats.series import MEAN, ceiling, oracles

PERCENT = ("data.prevalence",)
"""Keys whose values are shares, told in percent."""
MAP = ("truth", MEAN, "map_at_r")


@dataclass(frozen=True)
class Effect:
    """A score or a difference with its interval, as fractions; ``low`` and ``high`` are NaN where there is none."""

    estimate: float
    low: float
    high: float
    n_seeds: int
    level: float
    method: str


@dataclass(frozen=True)
class Picked:
    """Share of false negatives among a variant's picks in one world."""

    value: float
    low: float
    high: float
    picks: int


class SeriesResults:
    """A compared series.

    Args:
        definition: The series as it is stated.
        root: The project's folder.
    """

    def __init__(self, definition: Series, root: Path) -> None:
        self.definition, self.root = definition, root
        self.id, self.title, self.question = definition.name, definition.title, definition.question
        self.values, self.shared = definition.values, definition.shared
        self.folder = root / paths.results_folder(definition)
        self.baseline, self.variants = self.shared.baseline, self.shared.variants
        self.ceiling, self.floors = ceiling(self.shared), oracles(self.shared, "only")
        self.strategies = tuple(name for name in self.variants if name not in oracles(self.shared))
        self.primary = tuple(self.shared.primary[key] for key in ("protocol", "direction", "metric"))
        self.effects = _by(_rows(self.folder / "effects.csv"), _effect_key)
        self.picks = _by(_rows(self.folder / "picks.csv"), lambda row: (float(row["value"]), row["variant"]))
        self.worlds = _by(_rows(self.folder / "worlds.csv"), lambda row: (float(row["value"]), row["split"]))

    @property
    def reference(self) -> str:
        """What losses are told against: the ceiling, or the baseline where the series has no such oracle."""
        return self.ceiling or self.baseline

    @property
    def scores(self) -> tuple[tuple[str, str, str], ...]:
        """(protocol, direction, metric) of the primary metric and, where the truth is known, of mAP@R."""
        known = any(key[2:5] == MAP for key in self.effects)
        return (self.primary, *([MAP] if known and self.primary != MAP else []))

    def effect(
        self, value: float, variant: str, score: tuple[str, str, str], reference: str = "", *, grown: bool = False
    ) -> Effect | None:
        """A score, a difference within a world, or (``grown``) how far that differs from the first world's."""
        row = self.effects.get((value, variant, *score, reference, grown))
        if row is None or not math.isfinite(float(row["estimate"])):
            return None
        numbers = (float(row[name]) for name in ("estimate", "low", "high"))
        return Effect(*numbers, int(row["n_seeds"]), float(row["level"]), str(row["method"]))

    def picked(self, value: float, variant: str) -> Picked | None:
        """Share of false negatives among the picks, or ``None`` where it is not known."""
        row = self.picks.get((value, variant))
        if row is None or not math.isfinite(float(row["share"])):
            return None
        return Picked(*(float(row[name]) for name in ("share", "low", "high")), int(row["picks"]))

    def measured(self, value: float, split: str) -> float:
        """Measured prevalence of extra positives in a split of a world; NaN where it is not at hand."""
        row = self.worlds.get((value, split))
        return float(row["prevalence"]) if row and row["prevalence"] != "" else math.nan

    def title_of(self, variant: str) -> str:
        """What a variant is called."""
        return clean(self.shared.library[variant].title)

    @property
    def leaf(self) -> str:
        """The last part of the key that varies, as a word."""
        return self.definition.key.rpartition(".")[2].replace("_", " ")

    def at(self, value: float) -> str:
        """A value of the series in words: ``0.1 %`` of a share, else as it is written."""
        return f"{100 * value:.6g} %" if self.definition.key in PERCENT else show(value)

    def metric(self, score: tuple[str, str, str]) -> str:
        """A score in words."""
        _, direction, metric = score
        name = METRICS.get(metric, metric)
        return name if direction == "both" else f"{name} (mean of both directions)" if direction == MEAN else (
            f"{name} ({direction})"
        )  # fmt: skip

    def intervals(self) -> str:
        """How the intervals within a world were made."""
        methods = {str(row["method"]) for key, row in self.effects.items() if not key[-1]}
        level = "/".join(sorted({f"{100 * float(row['level']):g} %" for row in self.effects.values()}))
        told = [name if name.startswith("none") else f"{level} interval by {name}" for name in sorted(methods)]
        return "; ".join(told).replace("none:", "no interval:")


def open_series(series: str | Series, root: str | Path = ".") -> SeriesResults:
    """Open a series' comparison.

    Raises:
        UserError: No such series, or it was not compared yet.
    """
    home = Path(root)
    definition = load(series, root=home, complete=False) if isinstance(series, str) else series
    if not isinstance(definition, Series):
        raise bad_input("is a study, not a series", value=definition.name)
    if not (home / paths.results_folder(definition) / "effects.csv").is_file():
        file = home / paths.results_folder(definition) / "effects.csv"
        raise bad_input("the series was not compared yet", file=file, hint=f"fne compare --study {definition.name}")
    return SeriesResults(definition, home)


def _rows(path: Path) -> list[dict[str, Any]]:
    frame = read_table(path)
    return frame.astype(object).where(frame.notna(), "").to_dict("records")


def _by(rows: Iterable[dict[str, Any]], key: Any) -> Mapping[tuple[Any, ...], dict[str, Any]]:
    return {key(row): {name: math.nan if _number(name) and value == "" else value for name, value in row.items()}
            for row in rows}  # fmt: skip


def _number(name: str) -> bool:
    return name in ("estimate", "low", "high", "share")


def _effect_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (float(row["value"]), row["variant"], row["protocol"], row["direction"], row["metric"], row["reference"],
            row["since"] != "")  # fmt: skip
