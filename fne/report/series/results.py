"""What the comparison of a series left behind, read for its tables, figure and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.protocols import TRUTH, metric_of
from fne.report.text.summary import NO_SHARED_EPOCH, epochs_phrase
from fne.report.text.wording import listing
from fne.results.configs import shared_epochs
from fne.results.kept import open_any
from fne.results.schema import TABLES, read_table
from fne.results.series import MEAN, ceiling, oracles
from fne.study import paths
from fne.study.api import Series
from fne.utils.errors import bad_input
from fne.utils.names import RANDOM_FACTORS, show
from fne.utils.text import clean

PERCENT = ("data.prevalence",)
"""Keys whose values are shares, told in percent."""
MAP = (TRUTH, MEAN, "map_at_r")


@dataclass(frozen=True)
class Value:
    """A score, difference, share or standard deviation, a fraction; ``low`` and ``high`` are NaN without interval."""

    estimate: float
    low: float
    high: float
    n_seeds: int = 0
    level: float = 0.95
    method: str = ""

    @property
    def apart(self) -> bool:
        """Does the interval exclude zero?"""
        return self.low > 0 or self.high < 0


class SeriesResults:
    """A compared series. A member is named by its study, as ``member`` of the methods is.

    Args:
        definition: The series as it is stated.
        root: The project's folder.

    Attributes:
        parts: Components of variance by source; of a level or difference (``fne.steps.compare_series``) of a variant at
            values of the factors that are no draws, or of all variants (``""``).
        undecomposed: Scores and differences of which there are none, and why.
    """

    def __init__(self, definition: Series, root: Path) -> None:
        self.definition, self.root = definition, root
        self.id, self.title, self.question = definition.name, definition.title, definition.question
        self.shared = definition.shared
        self.points = {study.name: point for study, point in zip(definition.members, definition.points, strict=True)}
        self.members = tuple(self.points)
        self.folder = root / paths.results_folder(definition)
        self.baseline, self.variants = self.shared.baseline, self.shared.variants
        self.method = self.shared.method
        self.ceiling, self.floors = ceiling(self.shared), oracles(self.shared, "only")
        self.strategies = tuple(name for name in self.variants if name not in oracles(self.shared))
        primary = self.shared.primary
        self.primary = primary["protocol"], primary["direction"], primary["metric"]
        self.effects = {_effect_key(row): row for row in _rows(self.folder / "effects.csv")}
        self.picks = {(row["study"], row["variant"]): row for row in _rows(self.folder / "picks.csv")}
        self.worlds = {(row["study"], row["split"]): row for row in _rows(self.folder / "worlds.csv")}
        self.parts: dict[tuple[Any, ...], dict[str, Value]] = {}
        self.undecomposed: list[str] = []
        for row in _rows(self.folder / "components.csv") if definition.random else []:
            at = {key: float(row[key]) for key in definition.fixed if row["variant"]}
            parts = self.parts.setdefault((row["of"], row["variant"], *at.values()), {})
            if row["note"]:
                where = "".join(f", {name_of(key)} {value_of(key, value)}" for key, value in at.items())
                self.undecomposed.append(f"Not decomposed: the {row['of']} of {row['variant']}{where}: {row['note']}.")
            else:
                sd, low, high = (math.sqrt(max(row[name], 0.0)) for name in ("variance", "low", "high"))
                parts[row["source"]] = Value(sd, low, high)

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
        self, member: str, variant: str, score: tuple[str, str, str], reference: str = "", *, grown: bool = False
    ) -> Value | None:
        """A score, a difference within a member, or (``grown``) how far that differs from the first member's."""
        row = self.effects.get((member, variant, *score, reference, grown))
        if row is None or not math.isfinite(row["estimate"]):
            return None
        return Value(row["estimate"], row["low"], row["high"], int(row["n_seeds"]), row["level"], row["method"])

    def picked(self, member: str, variant: str) -> Value | None:
        """Share of false negatives among the picks, or ``None`` where it is not known."""
        row = self.picks.get((member, variant))
        if row is None or not math.isfinite(row["share"]):
            return None
        return Value(row["share"], row["low"], row["high"])

    def measured(self, member: str, split: str) -> float:
        """Measured prevalence of extra positives in a split of a member; NaN where it is not available."""
        row = self.worlds.get((member, split))
        return float(row["prevalence"]) if row else math.nan

    def title_of(self, variant: str) -> str:
        """What a variant is called."""
        return clean(self.shared.library[variant].title)

    @property
    def leaf(self) -> str:
        """What varies, in words."""
        return listing(name_of(key) for key in self.definition.factors)

    @property
    def noun(self) -> str:
        """What a member is called: a world where only the data differ in one chosen value, else a cell."""
        return "world" if self.definition.grows else "cell"

    def at(self, member: str) -> str:
        """Where a member stands: the value of the one factor, or of each with its name."""
        point = self.points[member]
        if len(point) == 1:
            return "".join(value_of(key, value) for key, value in point.items())
        return ", ".join(f"{name_of(key)} {value_of(key, value)}" for key, value in point.items())

    def metric(self, score: tuple[str, str, str]) -> str:
        """A score in words."""
        _, direction, metric = score
        which = {"both": "", MEAN: " (mean of both directions)"}.get(direction, f" ({direction})")
        return metric_of(metric).label + which

    def intervals(self) -> str:
        """How the intervals within a member were made; empty where none could be."""
        methods = {row["method"] for key, row in self.effects.items() if not key[-1]}
        level = "/".join(sorted({f"{100 * row['level']:g} %" for row in self.effects.values()}))
        return " or ".join(f"{level} interval by {name}" for name in sorted(methods) if not name.startswith("none"))

    @property
    def false_picks(self) -> str:
        """What the share of false picks is a share of, in words."""
        epochs = shared_epochs(*self.definition.members)
        if not epochs:
            return NO_SHARED_EPOCH
        exact = all(self.worlds.get((member, "train"), {}).get("truth") == "exact" for member in self.members)
        what = f"{'in truth' if exact else 'known to be'} relevant to its anchor"
        return f"of the negatives picked in {epochs_phrase(epochs, len(self.variants))}, the share that is {what}"


def name_of(key: str) -> str:
    """A factor as a word."""
    return RANDOM_FACTORS.get(key) or key.rpartition(".")[2].replace("_", " ")


def value_of(key: str, value: float) -> str:
    """A value of a factor in words: ``0.1 %`` of a share, else as it is written."""
    return f"{100 * value:.6g} %" if key in PERCENT else show(value)


def open_series(series: str | Series, root: str | Path = ".") -> SeriesResults:
    """Open a series' comparison.

    Raises:
        UserError: No such series, or it was not compared yet.
    """
    home = Path(root)
    definition = open_any(series, {}, home, complete=False) if isinstance(series, str) else series
    if not isinstance(definition, Series):
        raise bad_input("is a study, not a series", value=definition.name)
    file = home / paths.results_folder(definition) / "effects.csv"
    if not file.is_file():
        raise bad_input("the series was not compared yet", file=file, hint=f"fne compare --study {definition.name}")
    return SeriesResults(definition, home)


def _rows(path: Path) -> list[dict[Any, Any]]:
    frame = read_table(path)
    words = [name for name, column in TABLES[path.stem][1].items() if column.kind == "text"]
    return frame.assign(**{name: frame[name].fillna("") for name in words}).to_dict("records")


def _effect_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["study"], row["variant"], row["protocol"], row["direction"], row["metric"], row["reference"],
            not math.isnan(row["since"]))  # fmt: skip


def numbers(**values: Value | None) -> dict[str, float | None]:
    """Every number with every digit, for a CSV file; None where there is none."""
    row: dict[str, float | None] = {}
    for name, item in values.items():
        ends = (math.nan,) * 3 if item is None else (item.estimate, item.low, item.high)
        for key, end in zip((name, f"{name}_low", f"{name}_high"), ends, strict=True):
            row[key] = end if math.isfinite(end) else None
    return row
