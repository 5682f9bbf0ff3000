"""The tables of a series; each row says of which world it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fne import paths
from fne.config import Series
from fne.data.manifest import SPLITS
from fne.errors import bad_input
from fne.reporting.cells import ABSENT, Cell, Column, Table
from fne.reporting.plots.picks import percent_of
from fne.reporting.render import save
from fne.reporting.series.names import TABLES
from fne.reporting.series.results import MAP, Effect, Picked, SeriesResults, open_series
from fne.reporting.wording import UNITS, clean, count, percent, seed_list, signed, span

WITHIN = (
    "Test queries differ between worlds, so scores of two worlds are not to be compared; differences are paired by "
    "seed and image within one world."
)


def build(series: SeriesResults, name: str) -> Table:
    """Build one table.

    Raises:
        UserError: There is no table of that name.
    """
    builders = {"main": _main, "differences": _differences, "losses": _losses, "worlds": _worlds}
    if name not in TABLES:
        raise bad_input("no such table", value=name, allowed=TABLES)
    return builders[name](series)


def run(series: str | Series, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<series>/tables`` and return the paths."""
    results = open_series(series, root)
    folder = Path(root) / paths.reports_folder(results.definition) / "tables"
    return [path for name in TABLES for path in save(build(results, name), folder)]


def _main(series: SeriesResults) -> Table:
    """One row per world and variant: scores, differences within the world, false picks."""
    metric, scores = series.metric(series.primary), series.scores
    columns = [Column(series.leaf.capitalize(), numeric=True), Column("Variant", numeric=False), Column("Seeds")]
    columns += [
        Column("Score", metric),
        Column("Δ baseline", metric, help="paired difference to the baseline, in this world"),
        *([Column("Δ oracle", metric, help="paired difference, in this world")] if series.ceiling else []),
        Column("Change", metric, help="of the difference to the oracle (or baseline) since the first world"),
    ]
    if MAP in scores:
        columns += [Column("Score", "mAP@R"), Column("Δ baseline", "mAP@R")]
    columns.append(Column("False picks", "Training"))
    rows, records = [], []
    for value in series.values:
        for variant in series.variants:
            score = series.effect(value, variant, series.primary)
            baseline = series.effect(value, variant, series.primary, series.baseline)
            oracle = series.effect(value, variant, series.primary, series.ceiling) if series.ceiling else None
            grown = series.effect(value, variant, series.primary, series.reference, grown=True)
            ours = [series.effect(value, variant, MAP), series.effect(value, variant, MAP, series.baseline)]
            picked = series.picked(value, variant)
            cells = [
                Cell(series.at(value), value),
                Cell(series.title_of(variant), note=variant, code=True),
                Cell(str(score.n_seeds), float(score.n_seeds)) if score else ABSENT,
                _score(score),
                Cell("baseline") if variant == series.baseline else _difference(baseline),
                *([Cell("oracle") if variant == series.ceiling else _difference(oracle)] if series.ceiling else []),
                _difference(grown),
            ]
            if MAP in scores:
                cells += [_score(ours[0]), Cell("baseline") if variant == series.baseline else _difference(ours[1])]
            cells.append(Cell(percent_of(picked.value), picked.value) if picked else ABSENT)
            rows.append(tuple(cells))
            numbers = {"score": score, "to_baseline": baseline, "to_oracle": oracle, "change": grown,
                       "map_at_r": ours[0], "map_at_r_to_baseline": ours[1], "false_picks": picked}  # fmt: skip
            records.append({series.definition.key: value, "variant": variant,
                            "n_seeds": score.n_seeds if score else None, **_numbers(numbers)})  # fmt: skip
    against = "oracle" if series.ceiling else "baseline"
    notes = [
        WITHIN,
        f"Change: of the difference to the {against} since {series.leaf} {series.at(series.values[0])}; its interval "
        "takes two worlds as independent.",
        "False picks: share of the negatives picked in the main phase that are in truth relevant to their anchor.",
        *_missing(series),
    ]
    caption = (
        f"{clean(series.title)}: seeds {seed_list(series.shared.seeds)} in each world. {UNITS} Score: mean over seeds "
        f"on the test split, with {series.intervals()}. Baseline: {series.title_of(series.baseline)}."
        + (f" Oracle: {series.title_of(series.ceiling)}." if series.ceiling else "")
    )
    return Table("main", "Every strategy in every world", caption, tuple(columns), tuple(rows), tuple(notes),
                 tuple(records), sortable=True)  # fmt: skip


def _differences(series: SeriesResults) -> Table:
    """A row per variant, a column per world: the difference to the baseline."""
    what = f"difference in {series.metric(series.primary)} to the baseline, {series.title_of(series.baseline)}"
    title = "Differences to the baseline"
    return _by_world(series, "differences", title, what, series.baseline, series.variants, False)


def _losses(series: SeriesResults) -> Table:
    """A row per strategy, a column per world: how the difference to the reference changed since the first world."""
    start = f"{series.leaf} {series.at(series.values[0])}"
    what = (
        f"change since {start} of the paired difference in {series.metric(series.primary)} to "
        f"{series.title_of(series.reference)}"
    )
    rows = tuple(name for name in series.variants if name != series.reference)
    return _by_world(series, "losses", "What was lost since the first world", what, series.reference, rows, True)


def _by_world(
    series: SeriesResults, name: str, title: str, what: str, reference: str, variants: tuple[str, ...], grown: bool
) -> Table:
    values = series.values[1:] if grown else series.values
    heading = series.leaf.capitalize()
    columns = (Column("Variant", numeric=False), *(Column(series.at(value), heading) for value in values))
    rows, records = [], []
    for variant in variants:
        found = [series.effect(value, variant, series.primary, reference, grown=grown) for value in values]
        cells = [Cell("baseline") if variant == reference else _difference(effect) for effect in found]
        rows.append((Cell(series.title_of(variant), note=variant, code=True), *cells))
        records += [
            {"variant": variant, series.definition.key: value, **_numbers({"difference": effect})}
            for value, effect in zip(values, found, strict=True)
        ]
    caption = f"{what[0].upper()}{what[1:]}. Bold: the interval excludes zero. {WITHIN}"
    notes = ("Intervals are not corrected for the number of cells.",)
    return Table(name, title, caption, columns, tuple(rows), notes, tuple(records))


def _worlds(series: SeriesResults) -> Table:
    """A row per world: its study, and what its splits hold."""
    prevalences = [Column(f"{split}", "Measured share of extra positives") for split in SPLITS]
    columns = (Column(series.leaf.capitalize()), Column("Study", numeric=False), Column("Test images"),
               Column("Test captions"), *prevalences)  # fmt: skip
    rows, records = [], []
    for value, study in zip(series.values, series.definition.members, strict=True):
        test = series.worlds.get((value, "test"))
        shares = {split: series.measured(value, split) for split in SPLITS}
        sizes = [Cell(count(test[name]), float(test[name])) if test else ABSENT for name in ("images", "captions")]
        told = [Cell(_share(one), one) if math.isfinite(one) else ABSENT for one in shares.values()]
        rows.append((Cell(series.at(value), value), Cell(study.name), *sizes, *told))
        records.append({series.definition.key: value, "study": study.name, **shares})
    caption = (
        "One study per world, each with its own report. Extra positives: other images' captions that are true of an "
        "image, as a share of all such pairs, counted in the whole relevance matrix of a split."
    )
    return Table("worlds", "The worlds", caption, columns, tuple(rows), (), tuple(records))


def _share(value: float) -> str:
    """A share in percent with three digits that matter; exactly nothing is 0."""
    return f"{100 * value:.3g} %"


def _score(effect: Effect | None) -> Cell:
    if effect is None:
        return ABSENT
    return Cell(percent(effect.estimate), effect.estimate, note=span(effect.low, effect.high))


def _difference(effect: Effect | None) -> Cell:
    if effect is None:
        return ABSENT
    apart = effect.low > 0 or effect.high < 0
    return Cell(signed(effect.estimate), effect.estimate, apart, note=span(effect.low, effect.high, sign=True))


def _missing(series: SeriesResults) -> list[str]:
    asked = len(series.shared.seeds)
    fewer = [
        f"{variant} at {series.at(value)}: {score.n_seeds if score else 0} of {asked}"
        for value in series.values
        for variant in series.variants
        if (score := series.effect(value, variant, series.primary)) is None or score.n_seeds < asked
    ]
    return [f"Seeds with a result: {'; '.join(fewer)}."] if fewer else []


def _numbers(found: dict[str, Effect | Picked | None]) -> dict[str, Any]:
    """Every number with every digit, for the CSV file."""
    row: dict[str, Any] = {}
    for name, one in found.items():
        middle = None if one is None else one.value if isinstance(one, Picked) else one.estimate
        parts = (middle, one and one.low, one and one.high)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(_finite, parts), strict=True))
    return row


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
