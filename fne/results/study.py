"""A finished study, read from its files: computes nothing and draws nothing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.analysis.holm import holm_floor
from fne.analysis.layout import Layout
from fne.analysis.layout import load as load_layout
from fne.analysis.permutation import drawn_floor
from fne.data.manifest import Manifest
from fne.results.code import Code
from fne.results.configs import shared_epochs
from fne.results.current import check_comparable
from fne.results.elsewhere import Known, variance_for
from fne.results.kept import open_study, tell_left_out
from fne.results.records import DISTRIBUTIONS, POPULATIONS, PROTOCOLS, Contrast, Estimate, Variant
from fne.results.runs import ANCHOR, finished, picks_of
from fne.results.schema import ELSEWHERE, read_table
from fne.study import paths
from fne.study.api import DEFAULT_STUDY, Study, blocks
from fne.utils.errors import bad_input
from fne.utils.files import read_record
from fne.utils.provenance import read_readings
from fne.utils.yaml_file import parse_set, set_items

if TYPE_CHECKING:
    import pandas as pd

    from fne.results.slices import Rule

KEY = ("variant", "metric", "direction", "protocol")


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
        self.method, self.control = definition.method, definition.control
        self.every_variant = definition.variants  # a part of the study (see `only`) knows those of the whole
        self.dataset = str(definition.data["dataset"])
        self.metric, self.protocol = definition.primary["metric"], definition.primary["protocol"]
        self.direction = definition.primary["direction"]
        self.folder = root / paths.results_folder(definition)
        self._layouts: dict[str, Layout | None] = {}
        self._kept: frozenset[str] | None = None
        self._audits: tuple[pd.DataFrame | None, dict[str, pd.DataFrame]] = (None, {})

    def __repr__(self) -> str:
        done = sum(len(variant.seeds) for variant in self.variants)
        requested = len(self.variants) * len(self.seeds)
        made = f"; with {' '.join(set_items(self.definition.overrides))}" if self.definition.overrides else ""
        variants = f"{len(self.variants)} variant{'s' if len(self.variants) > 1 else ''}"
        return f"<study {self.id}: {variants}, {done} of {requested} runs{made}>"

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The variants in the order of the study, with what was run of them under its present config and code.

        Raises:
            UserError: A run is of another schema.
        """
        sources = Code(self.root)
        return tuple(self._variant(name, sources) for name in self.definition.variants)

    def _variant(self, name: str, sources: Code) -> Variant:
        result, declared = finished(self.definition, self.root, name, sources), self.definition.library[name]
        runs, folders = tuple(run for _, run in result), tuple(folder for folder, _ in result)
        return Variant(name, declared.title, declared.question, runs, folders)

    @property
    def compared(self) -> tuple[Variant, ...]:
        """The variants that are compared with the baseline."""
        return tuple(variant for variant in self.variants if variant.id in self.definition.compared)

    def only(self, kept: Collection[str]) -> StudyResults:
        """The same study as if it had these variants alone, in its own order."""
        variants = tuple(variant for variant in self.variants if variant.id in kept)
        few = type(self)(replace(self.definition, variants=tuple(variant.id for variant in variants)), self.root)
        few.every_variant = self.every_variant
        few._kept = frozenset(variant.id for variant in variants)
        few.__dict__ |= {"variants": variants, "shared_epochs": self.shared_epochs}
        for name in ("runs", "intervals", "contrasts", "missing", "curves", "audit"):
            rows = getattr(self, name)
            few.__dict__[name] = rows[rows["variant"].isin(few._kept)]
        return few

    def __getitem__(self, variant: str) -> Variant:
        result = self._by_id.get(variant)
        if result is None:
            raise bad_input(
                "no such variant in this study", file=self.id, value=variant, allowed=self.definition.variants
            )
        return result

    @cached_property
    def _by_id(self) -> dict[str, Variant]:
        return {entry.id: entry for entry in self.variants}

    @cached_property
    def runs(self) -> pd.DataFrame:
        """``runs.csv``: one row per run, split, protocol, direction and metric."""
        return self._csv("runs.csv")

    @cached_property
    def test(self) -> pd.DataFrame:
        """The rows of ``runs`` on the test split, checked to be comparable.

        Raises:
            UserError: Two fingerprints of one protocol, two configs of one variant or two regimes are mixed, or the
                study now states another config than that of its numbers.
        """
        rows = self.runs[self.runs["split"] == "test"]
        check_comparable(rows, self.definition, self.folder / "runs.csv")
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
    def known(self) -> Known:
        """The recorded components of variance, which widen intervals, or why none hold."""
        return variance_for(self.definition, self.root)

    @cached_property
    def missing(self) -> pd.DataFrame:
        """``missing.csv``: every run that the study asked for and that has no result, with its reason."""
        return self._csv("missing.csv")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """``curves.csv``: training curves of all variants that train, one row per seed and epoch."""
        return self._of_trained(self._csv("curves.csv"))

    @cached_property
    def audit(self) -> pd.DataFrame:
        """``audit.csv``: counts of picks and candidates by similarity, per trained variant, seed, epoch, direction."""
        return self._of_trained(self._csv("audit.csv"))

    def _of_trained(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Without what trains nothing, which has no curve and picks for no loss."""
        for column in rows.columns.intersection(["variant", "other"]):
            rows = rows[rows[column].isin(self.definition.trained)]
        return rows

    @cached_property
    def shared_epochs(self) -> range:
        """The epochs, from 0, that shares of picks are compared over: of the main phase in every variant."""
        return shared_epochs(self.definition)

    def audit_of(self, variant: str) -> pd.DataFrame:
        """The rows of ``audit`` of one variant, of the epochs that variants are compared over."""
        if self._audits[0] is not self.audit:
            rows = self.audit[self.audit["epoch"].isin(self.shared_epochs)] if len(self.audit) else self.audit
            self._audits = (self.audit, dict(iter(rows.groupby("variant", sort=False))))
        result = self._audits[1].get(variant)
        return self.audit.iloc[:0] if result is None else result

    @cached_property
    def measured(self) -> dict[str, frozenset[int]]:
        """The seeds of every variant that have any row on the test split."""
        by = self.test.groupby("variant", sort=False)["seed"]
        return {variant: frozenset(seeds.astype(int)) for variant, seeds in by}

    @cached_property
    def test_readings(self) -> list[dict[str, str]]:
        """Every reading of the test split, oldest first; empty where none was logged.

        Raises:
            UserError: A line of a log is damaged.
        """
        entries = [entry for log in self.reading_logs for entry in read_readings(log)]
        return sorted(entries, key=lambda entry: entry["time"])

    @property
    def reading_logs(self) -> list[Path]:
        """Where they are logged."""
        return [self.root / paths.readings(self.definition, variant, block, of)
                for variant in self.definition.variants for block in blocks(self.definition)
                for of in ("test", "calibrate")]  # fmt: skip

    def audited(self, table: str) -> pd.DataFrame:
        """``audit_<table>.csv``, from the log of picks: one of ``fne.steps.audit.TABLES``."""
        return self._of_trained(self._csv(f"audit_{table}.csv"))

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """``calibration.csv``: a row per posterior, recalibration, source of truth, direction and metric."""
        return self._csv("calibration.csv")

    @cached_property
    def reliability(self) -> pd.DataFrame:
        """``calibration_bins.csv``: mean probability and observed share of false negatives in bins of equal mass."""
        return self._csv("calibration_bins.csv")

    @cached_property
    def protocols(self) -> dict[str, dict[str, Any]]:
        """``protocols.json``: each protocol's fingerprint: queries, gallery, tie rule, digests of ids."""
        hint = f"run `fne aggregate --study {self.id}` again"
        return read_record(self.folder / "protocols.json", None, PROTOCOLS, hint)

    @cached_property
    def manifest(self) -> Manifest | None:
        """The prepared data, or ``None`` where only results are at hand."""
        folder = paths.prepared(self.definition, self.root)
        return Manifest.load(folder) if folder else None

    def picks(
        self,
        *variants: str,
        false: bool | None = None,
        false_under: str | Sequence[str] = (),
        not_false_under: str | Sequence[str] = (),
    ) -> pd.DataFrame:
        """The negatives that variants picked in training, as many as were kept, of anchors that meet all conditions.

        ``study.picks(false_under="hardest_in_batch", not_false_under="fne")`` are the picks of both for the anchors
        where the first picked a false negative and the second did not: the same anchor at the same step of the same
        seed. A pick whose truth is not known meets no condition.

        Args:
            variants: Ids; unless given, those of the conditions, and without conditions every variant.
            false: Only picks that are known to be false negatives (True), or known to be true ones (False).
            false_under: Variants with a pick for the anchor that is known to be a false negative.
            not_false_under: Variants with a pick for the anchor, each of which is known to be a true negative.

        Returns:
            A row per pick: ``variant`` and :data:`fne.training.picks.COLUMNS`; of several variants those for the same
            anchor one below the other. ``false_negative`` is missing where it is not known.

        Raises:
            UserError: No such variant, a condition on one that kept no picks, or a damaged file of picks.
        """
        import pandas as pd

        if not isinstance(false, bool | None):
            hint = "a condition on the pick of a variant is false_under or not_false_under"
            raise bad_input("unknown value", key="false", value=false, allowed="True, False or None", hint=hint)
        conditions = [
            (name, truth, key)
            for key, names, truth in (("false_under", false_under, 1), ("not_false_under", not_false_under, 0))
            for name in ([names] if isinstance(names, str) else names)
        ]
        shown = dict.fromkeys(variants or [name for name, *_ in conditions] or self.definition.variants)
        frames = {name: picks_of(self[name].folders) for name in [*shown, *(name for name, *_ in conditions)]}
        result = pd.concat([frames[name].assign(variant=name) for name in shown], ignore_index=True)
        for name, truth, key in conditions:
            rows = frames[name]
            if rows.empty:
                raise bad_input("this variant kept no picks", file=self.folder, key=key, value=name)
            worst = rows["false_negative"].fillna(1 - truth).groupby([rows[each] for each in ANCHOR]).max()
            met = worst.index[worst == truth]
            result = result[pd.MultiIndex.from_frame(result[[*ANCHOR]]).isin(met)] if len(result) else result
        if false is not None and len(result):
            result = result[(result["false_negative"] == int(false)).fillna(False)]
        if len(shown) > 1 and len(result):
            result = result.sort_values([*ANCHOR], kind="stable")
        columns = ["variant", *(column for column in result.columns if column != "variant")]
        return result[columns].reset_index(drop=True)

    def distributions(self, variant: str) -> list[dict[str, Any]]:
        """Similarity histograms and fitted densities of a variant, one entry per seed."""
        result: list[dict[str, Any]] = []
        for folder in self[variant].folders:
            file, hint = folder / "distributions.json", "train this variant again"
            for entry in read_record(file, None, DISTRIBUTIONS, hint):
                sizes = [len(entry["bins"]), *(len(entry[name]) + 1 for name in POPULATIONS)]
                if len({*sizes, len((result or [entry])[0]["bins"])}) > 1:
                    raise bad_input("other counts than bins", file=file, key=f"seed {entry['seed']}", hint=hint)
                result.append(entry)
        return result

    def values(
        self, variant: str, metric: str | None = None, direction: str | None = None, protocol: str | None = None
    ) -> dict[int, float]:
        """Test values by seed; the study's primary metric unless told otherwise."""
        return self._values.get((variant, *self._which(metric, direction, protocol)), {})

    def estimate(
        self, variant: str, metric: str | None = None, direction: str | None = None, protocol: str | None = None
    ) -> Estimate | None:
        """Mean with interval, or ``None`` where the variant has no result."""
        row = self._estimates.get((variant, *self._which(metric, direction, protocol)))
        if row is None or not np.isfinite(row["mean"]):
            return None
        return Estimate(
            float(row["mean"]),
            float(row["low"]),
            float(row["high"]),
            int(row["n_seeds"]),
            int(row["n_queries"]),
            float(row["level"]),
            str(row["method"]),
            *(float(row[name]) for name in [*ELSEWHERE][:2]),
        )

    def contrast(
        self, variant: str, metric: str | None = None, direction: str | None = None, protocol: str | None = None
    ) -> Contrast | None:
        """Paired difference to the baseline, or ``None``; ``p_holm`` is of the test that the study declares."""
        row = self._contrasts.get((variant, *self._which(metric, direction, protocol)))
        if row is None or not np.isfinite(row["difference"]):
            return None
        held = "p_seed" if self.definition.test == "seeds" else "p_query"
        same = ("difference", "low", "high", "p_query", "p_seed", "low_elsewhere", "high_elsewhere")
        return Contrast(
            variant=variant,
            baseline=row["baseline"],
            p_holm=float(row[f"{held}_holm"]),
            p_holm_floor=holm_floor(drawn_floor(row, held), row["family"]),
            p_floor=float(row["p_seed_floor"]),
            n_seeds=int(row["n_seeds"]),
            note=row["note"] if isinstance(row["note"], str) else "",
            **{name: float(row[name]) for name in same},
        )

    def layout(self, variant: str) -> Layout | None:
        """Test metrics per seed and image, for paired differences; ``None`` where there is no result."""
        if variant not in self._layouts:
            files = self.query_files(variant)
            result = load_layout(files) if files else None
            self._layouts[variant] = result if result is not None and result.seeds else None
        return self._layouts[variant]

    def query_files(self, variant: str) -> list[Path]:
        """``queries.test.npz`` of the variant's blocks of seeds that have a result."""
        done, result = set(self.values(variant)), self[variant]
        blocks = zip(result.folders, result.runs, strict=True)
        return [folder / "queries.test.npz" for folder, run in blocks if done & set(run["seeds"])]

    def slices(self, variant: str, by: str | Rule = "caption_length", **options: Any) -> pd.DataFrame:
        """Where a variant differs from another: parts of the test queries. Exploratory: read after the runs.

        Args:
            variant: Id.
            by: What the queries are parted by: ``"caption_length"`` (words of the caption), ``"true_positives"`` (items
                known to match), or a function that takes a :class:`fne.results.per_query.Queries` and returns a number,
                word or truth value per query.
            options: ``against``, ``metric``, ``direction``, ``protocol``, ``groups``, ``resamples``; see
                :func:`fne.results.slices.slices`.
        """
        from fne.results.slices import slices

        return slices(self, variant, by, **options)

    def by_seed(
        self, metric: str | None = None, direction: str | None = None, protocol: str | None = None
    ) -> pd.DataFrame:
        """Test values as a frame, one row per variant and one column per seed; NaN where a run is missing."""
        import pandas as pd

        rows = {variant.id: self.values(variant.id, metric, direction, protocol) for variant in self.variants}
        return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(self.seeds))

    def key(
        self, metric: str | None = None, direction: str | None = None, protocol: str | None = None
    ) -> tuple[str, str, str]:
        """(protocol, direction, metric), the order in which the statistics name a column."""
        return self._which(metric, direction, protocol)[::-1]

    def _which(self, metric: str | None, direction: str | None, protocol: str | None) -> tuple[str, str, str]:
        if metric is None:
            return self.metric, direction or self.direction, protocol or self.protocol
        return metric, direction or "both", protocol or "own"

    @cached_property
    def _values(self) -> dict[tuple[str, ...], dict[int, float]]:
        result: dict[tuple[str, ...], dict[int, float]] = {}
        rows = self.test[self.test["value"].notna()].sort_values("seed", kind="stable")
        for *key, seed, value in zip(*(rows[name] for name in (*KEY, "seed", "value")), strict=True):
            result.setdefault(tuple(key), {})[int(seed)] = float(value)
        return result

    @cached_property
    def _estimates(self) -> dict[tuple[str, ...], dict[str, Any]]:
        return _by_key(self.intervals)

    @cached_property
    def _contrasts(self) -> dict[tuple[str, ...], dict[str, Any]]:
        return _by_key(self.contrasts)

    def _csv(self, name: str) -> pd.DataFrame:
        """A table of the study."""
        rows = read_table(self.folder / name)
        if self._kept is not None:
            for column in sorted({"variant", "other"} & set(rows.columns)):  # `other`: of a pair of variants
                rows = rows[rows[column].isin(self._kept)]
        return rows


def load(study: str | Study | None = None, root: str | Path | None = None) -> StudyResults:
    """Open a study's results, with the overrides that they were made with; runs that it leaves out are named.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it; unless given
            here or in ``FNE_STUDY`` (there with overrides, as ``paper --set memory.size=2048``), it is ``paper``.
        root: Root of the project; unless given here or in ``FNE_ROOT``, found by walking up from here.

    Raises:
        UserError: There is no such study, or it has no results yet.
    """
    home = Path(root or os.environ.get("FNE_ROOT") or find_root())
    study, overrides = (study, {}) if study else _requested(os.environ.get("FNE_STUDY") or DEFAULT_STUDY)
    definition = open_study(study, overrides, home, complete=False) if isinstance(study, str) else study
    results = StudyResults(definition, home)
    tell_left_out(definition, home)
    if not (results.folder / "runs.csv").is_file():
        raise bad_input(
            "no results of this study yet",
            file=results.folder / "runs.csv",
            hint=f"run the study first: snakemake --cores all --config study={results.id}",
        )
    return results


def _requested(text: str) -> tuple[str, dict[str, Any]]:
    """A study and its overrides from words like those of the command line: ``paper --set seeds=0-9``."""
    name, *words = shlex.split(text)
    if len(words) % 2 or any(word != "--set" for word in words[::2]):
        raise bad_input("not understood", file="FNE_STUDY", value=text, allowed="STUDY --set KEY=VALUE ...")
    return name, parse_set(words[1::2])


def find_root() -> Path:
    """The nearest folder above the current one that holds ``ablations/studies``."""
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "ablations" / "studies").is_dir():
            return folder
    raise bad_input("no folder `ablations/studies` here or above", file=here, hint="start inside the project")


def _by_key(frame: pd.DataFrame) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(row[name] for name in KEY): row for row in frame.to_dict("records")}
