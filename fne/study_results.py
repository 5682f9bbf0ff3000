"""A finished study as tables in memory: ``from fne.study_results import load; study = load("paper"); study.table()``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne import paths
from fne.config import Study, blocks, load_study
from fne.data.manifest import Manifest
from fne.errors import bad_input
from fne.files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from fne.reporting.figure import Picture

DIRECTIONS = ("i2t", "t2i")
RSUM_PARTS = tuple((direction, metric) for direction in DIRECTIONS for metric in ("r1", "r5", "r10"))
TEXT_COLUMNS = ("study", "dataset", "regime", "variant", "baseline", "title", "split", "protocol", "direction", "metric",
                "fingerprint", "digest", "stage", "reason", "method", "note", "phase")  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; ``low`` and ``high`` are NaN where none could be computed."""

    mean: float
    low: float
    high: float
    n_seeds: int
    n_queries: int
    level: float
    method: str


@dataclass(frozen=True)
class Contrast:
    """A paired difference ``variant - baseline`` with its interval and p values (NaN where a test was impossible)."""

    variant: str
    baseline: str
    difference: float
    low: float
    high: float
    p_query: float
    p_holm: float
    p_seed: float
    p_floor: float
    n_seeds: int
    note: str

    @property
    def separated(self) -> bool:
        """Does the interval exclude zero?"""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Variant:
    """One variant of a study as it was run.

    Args:
        id: File stem of the variant.
        title: What a reader sees.
        asks: The question it answers.
        runs: The ``run.json`` of every finished block of seeds, in order of their first seed.
        folders: The folders of those blocks.
    """

    id: str
    title: str
    asks: str
    runs: tuple[dict[str, Any], ...]
    folders: tuple[Path, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were trained."""
        return tuple(sorted(int(seed) for run in self.runs for seed in run["seeds"]))

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config that was run; empty when nothing was."""
        return self.runs[0]["config"] if self.runs else {}


class StudyResults:
    """Everything a study left behind, read when asked for and kept.

    Metrics are fractions here (0..1, rsum 0..6), as in the files; tables and figures show percent.

    Args:
        definition: The study as it is stated: titles, order of variants, seeds, baseline, primary metric.
        root: Root of the project: the folder that holds ``ablations/``, ``results/`` and ``resources/``.
    """

    def __init__(self, definition: Study, root: Path) -> None:
        self.definition, self.root = definition, root
        self.id, self.title, self.question = definition.name, definition.title, definition.question
        self.baseline, self.seeds = definition.baseline, definition.seeds
        self.dataset = str(definition.data["dataset"])
        self.metric, self.protocol = definition.primary["metric"], definition.primary["protocol"]
        self.direction = definition.primary["direction"]
        self.folder = root / paths.results_folder(definition)

    def __repr__(self) -> str:
        done = sum(len(variant.seeds) for variant in self.variants)
        return f"<study {self.id}: {len(self.variants)} variants, {done} of {len(self.variants) * len(self.seeds)} runs>"

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The variants in the order of the study, with what was run of them."""
        library, names = self.definition.library, blocks(self.definition)
        found = []
        for name in self.definition.variants:
            folders = [self.folder / name / block for block in names if (self.folder / name / block / "run.json").is_file()]
            runs = tuple(read_json(folder / "run.json") for folder in folders)
            found.append(Variant(name, library[name].title, library[name].asks, runs, tuple(folders)))
        return tuple(found)

    def __getitem__(self, variant: str) -> Variant:
        for entry in self.variants:
            if entry.id == variant:
                return entry
        raise bad_input("no such variant in this study", file=self.id, value=variant, allowed=self.definition.variants)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """``runs.csv``: one row per run, split, protocol, direction and metric."""
        return self._csv("runs.csv")

    @cached_property
    def test(self) -> pd.DataFrame:
        """The rows of ``runs`` on the test split, checked to be comparable.

        Raises:
            UserError: Two fingerprints of one protocol, two configs of one variant, or two regimes stand side by side.
        """
        rows = self.runs[self.runs["split"] == "test"]
        for keys, column in ((["protocol"], "fingerprint"), (["variant"], "digest"), (["study"], "regime")):
            for key, group in rows.groupby(keys, sort=True):
                found = sorted(set(group[column].dropna()))
                if len(found) > 1:
                    raise bad_input(
                        f"numbers that cannot be compared stand side by side: {keys[0]} {key[0]!r} has several {column}s",
                        file=self.folder / "runs.csv", key=column, value=", ".join(found),
                        hint="run the variants again under one config and protocol",
                    )  # fmt: skip
        return rows

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """``intervals.csv``: mean over seeds with its interval."""
        return self._csv("intervals.csv")

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """``contrasts.csv``: paired differences to the study's baseline."""
        return self._csv("contrasts.csv")

    @cached_property
    def missing(self) -> pd.DataFrame:
        """``missing.csv``: every run that the study asked for and that has no result, with its reason."""
        return self._csv("missing.csv")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Training curves of all variants, one row per seed and epoch."""
        return self._blocks("curves.csv")

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Counts of picked negatives and of candidates by similarity, per variant, seed and direction."""
        return self._blocks("audit.csv")

    @cached_property
    def manifest(self) -> Manifest | None:
        """The prepared data, or ``None`` where only results are at hand."""
        folder = self.root / paths.data_folder(self.definition)
        return Manifest.load(folder) if (folder / "manifest.json").is_file() else None

    def picks(self, variant: str) -> pd.DataFrame:
        """A sample of the negatives that a variant picked in training: positions within the train split."""
        import pandas as pd

        frames = []
        for folder in self[variant].folders:
            with np.load(folder / "picks.npz", allow_pickle=False) as arrays:
                frames.append(pd.DataFrame({name: arrays[name] for name in arrays.files}))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def distributions(self, variant: str) -> list[dict[str, Any]]:
        """Similarity histograms and fitted densities of a variant, one entry per seed."""
        return [entry for folder in self[variant].folders for entry in _per_seed(read_json(folder / "distributions.json"))]

    def values(self, variant: str, metric: str | None = None, direction: str | None = None,
               protocol: str | None = None) -> dict[int, float]:  # fmt: skip
        """Test values by seed; the study's primary metric unless told otherwise."""
        metric, direction, protocol = self._which(metric, direction, protocol)
        rows = self.test
        rows = rows[(rows["variant"] == variant) & (rows["metric"] == metric) & (rows["direction"] == direction)]
        rows = rows[(rows["protocol"] == protocol) & rows["value"].notna()]
        return {int(seed): float(value) for seed, value in sorted(zip(rows["seed"], rows["value"], strict=True))}

    def estimate(self, variant: str, metric: str | None = None, direction: str | None = None,
                 protocol: str | None = None) -> Estimate | None:  # fmt: skip
        """Mean with interval, or ``None`` where the variant has no result."""
        row = _row(self.intervals, variant, *self._which(metric, direction, protocol))
        if row is None or not np.isfinite(row["mean"]):
            return None
        return Estimate(row["mean"], row["low"], row["high"], int(row["n_seeds"]), int(row["n_queries"]), row["level"],
                        row["method"])  # fmt: skip

    def contrast(self, variant: str, metric: str | None = None, direction: str | None = None,
                 protocol: str | None = None) -> Contrast | None:  # fmt: skip
        """Paired difference to the baseline, or ``None`` where there is none."""
        row = _row(self.contrasts, variant, *self._which(metric, direction, protocol))
        if row is None or not np.isfinite(row["difference"]):
            return None
        return Contrast(variant, row["baseline"], row["difference"], row["low"], row["high"], row["p_query"],
                        row["p_query_holm"], row["p_seed"], row["p_seed_floor"], int(row["n_seeds"]),
                        row["note"] if isinstance(row["note"], str) else "")  # fmt: skip

    def table(self) -> pd.DataFrame:
        """The study's main table as it stands in the report."""
        from fne.reporting.table_main import main_table
        from fne.reporting.tables import to_frame

        return to_frame(main_table(self))

    def figure(self, name: str) -> Picture:
        """One figure of the report, drawn anew; see ``fne.reporting.figures.FIGURES`` for the names."""
        from fne.reporting.figures import draw

        return draw(self, name)
    def _which(self, metric: str | None, direction: str | None, protocol: str | None) -> tuple[str, str, str]:
        if metric is None:
            return self.metric, direction or self.direction, protocol or self.protocol
        return metric, direction or "both", protocol or "own"

    def _csv(self, name: str) -> pd.DataFrame:
        return read_table(self.folder / name)

    def _blocks(self, name: str) -> pd.DataFrame:
        import pandas as pd

        frames = []
        for variant in self.variants:
            for folder in variant.folders:
                frame = read_table(folder / name)
                frame.insert(0, "variant", variant.id)
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"variant": []})


def load(study: str | Study = "paper", root: str | Path | None = None) -> StudyResults:
    """Open a study's results.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it.
        root: Root of the project; found by walking up from the current folder unless given here or in ``FNE_ROOT``.

    Raises:
        UserError: There is no such study, or it has no results yet.
    """
    home = Path(root or os.environ.get("FNE_ROOT") or find_root())
    definition = load_study(study, root=home, complete=False) if isinstance(study, str) else study
    results = StudyResults(definition, home)
    if not (results.folder / "runs.csv").is_file():
        raise bad_input("no results of this study yet", file=results.folder / "runs.csv",
                        hint=f"run the study first: snakemake --cores all --config study={results.id}")  # fmt: skip
    return results


def find_root() -> Path:
    """The nearest folder above the current one that holds ``ablations/studies``."""
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "ablations" / "studies").is_dir():
            return folder
    raise bad_input("no folder `ablations/studies` here or above", file=here, hint="start inside the project")


def read_table(path: Path) -> pd.DataFrame:
    """Read one of the harness's CSV files; words stay words (a variant may be called ``none``), empty cells are NaN."""
    import pandas as pd

    if not path.is_file():
        raise bad_input("no such file", file=path, hint="an earlier step of the study did not finish")
    columns = pd.read_csv(path, nrows=0).columns
    types = {name: "string" for name in columns if name in TEXT_COLUMNS}
    frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={name: [""] for name in columns})
    return frame.astype({name: object for name in types})


def _row(frame: pd.DataFrame, variant: str, metric: str, direction: str, protocol: str) -> Any:
    same = (frame["variant"] == variant) & (frame["metric"] == metric) & (frame["direction"] == direction)
    rows = frame[same & (frame["protocol"] == protocol)]
    return None if rows.empty else rows.iloc[0]


def _per_seed(value: Any) -> Iterable[dict[str, Any]]:
    return value["seeds"] if isinstance(value, dict) else value
