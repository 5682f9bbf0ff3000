"""The tables of a series; each row says of which member it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fne.data.manifest import SPLITS
from fne.report.figures.picks import percent_of
from fne.report.series import components, names
from fne.report.series.results import MAP, Effect, Picked, SeriesResults, name_of, open_series, value_of
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.tables.render import save
from fne.report.text.wording import UNITS, count, percent, seed_list, signed, span
from fne.report.tuning import marked
from fne.study import paths
from fne.study.api import Series
from fne.utils.errors import bad_input
from fne.utils.text import clean

QUERIES = "Test queries differ between {0}s, so scores of two {0}s are not to be compared"
UNCORRECTED = "Intervals are not corrected for the number of cells."
PAIRED = "differences are paired by seed and image within one {0}."


def build(series: SeriesResults, name: str) -> Table:
    """Build one table; it says where values were tuned under an earlier protocol.

    Raises:
        UserError: There is no table of that name.
    """
    builders = {"main": _main, "components": components.table, "differences": _differences, "losses": _losses,
                "worlds": _worlds}  # fmt: skip
    if name not in names.tables(series.definition):
        raise bad_input("no such table", value=name, allowed=names.tables(series.definition))
    return marked(builders[name](series), series.definition.notes)


def within(series: SeriesResults) -> str:
    """What may be compared with what."""
    queries = any(key.startswith("data.") for key in series.definition.factors)
    words = f"{QUERIES}; {PAIRED}" if queries else PAIRED[0].upper() + PAIRED[1:]
    return words.format(series.noun)


def run(series: str | Series, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<series>/tables`` and return the paths."""
    results = open_series(series, root)
    folder = Path(root) / paths.reports_folder(results.definition) / "tables"
    return [path for name in names.tables(results.definition) for path in save(build(results, name), folder)]


def _where(series: SeriesResults) -> tuple[Column, ...]:
    """Columns that say of which member a row is, one for each factor."""
    return tuple(Column(name[0].upper() + name[1:]) for name in map(name_of, series.definition.factors))


def _here(series: SeriesResults, member: str) -> tuple[Cell, ...]:
    """The cells of those columns."""
    return tuple(Cell(value_of(key, value), value) for key, value in series.points[member].items())


def _main(series: SeriesResults) -> Table:
    """One row per member and variant: scores, differences within it, false picks."""
    metric, scores, noun = series.metric(series.primary), series.scores, series.noun
    columns = [*_where(series), Column("Variant", numeric=False), Column("Seeds")]
    columns += [
        Column("Score", metric),
        Column("Δ baseline", metric, help=f"paired difference to the baseline, in this {noun}"),
        *([Column("Δ oracle", metric, help=f"paired difference, in this {noun}")] if series.ceiling else []),
    ]
    if series.definition.grows:
        help_ = "of the difference to the oracle (or baseline) since the first world"
        columns.append(Column("Change", metric, help=help_))
    if MAP in scores:
        columns += [Column("Score", "mAP@R", detail=True), Column("Δ baseline", "mAP@R", detail=True)]
    columns.append(Column("False picks", "Training"))
    rows, records = [], []
    for member in series.members:
        for variant in series.variants:
            score = series.effect(member, variant, series.primary)
            baseline = series.effect(member, variant, series.primary, series.baseline)
            oracle = series.effect(member, variant, series.primary, series.ceiling) if series.ceiling else None
            grown = series.effect(member, variant, series.primary, series.reference, grown=True)
            ours = [series.effect(member, variant, MAP), series.effect(member, variant, MAP, series.baseline)]
            picked = series.picked(member, variant)
            cells = [
                *_here(series, member),
                Cell(series.title_of(variant), note=variant, code=True),
                Cell(str(score.n_seeds), float(score.n_seeds)) if score else ABSENT,
                _score(score),
                Cell("baseline") if variant == series.baseline else _difference(baseline),
                *([Cell("oracle") if variant == series.ceiling else _difference(oracle)] if series.ceiling else []),
                *([_difference(grown)] if series.definition.grows else []),
            ]
            if MAP in scores:
                cells += [_score(ours[0]), Cell("baseline") if variant == series.baseline else _difference(ours[1])]
            cells.append(Cell(percent_of(picked.value), picked.value) if picked else ABSENT)
            rows.append(tuple(cells))
            numbers = {"score": score, "to_baseline": baseline, "to_oracle": oracle,
                       **({"change": grown} if series.definition.grows else {}),
                       "map_at_r": ours[0], "map_at_r_to_baseline": ours[1], "false_picks": picked}  # fmt: skip
            records.append({**series.points[member], "variant": variant,
                            "n_seeds": score.n_seeds if score else None, **_numbers(numbers)})  # fmt: skip
    against = "oracle" if series.ceiling else "baseline"
    change = (
        f"Change: of the difference to the {against} since {series.leaf} {series.at(series.members[0])}; its interval "
        "takes two worlds as independent."
    )
    notes = [
        within(series),
        *([change] if series.definition.grows else []),
        f"False picks: {series.false_picks}.",
        *_missing(series),
    ]
    intervals = series.intervals()
    caption = (
        f"{clean(series.title)}: seeds {seed_list(series.shared.seeds)} in each {noun}. {UNITS} Score: mean over seeds "
        f"on the test split{f', with {intervals}' if intervals else ''}. Baseline: {series.title_of(series.baseline)}."
        + (f" Oracle: {series.title_of(series.ceiling)}." if series.ceiling else "")
    )
    return Table("main", f"Every strategy in every {noun}", caption, tuple(columns), tuple(rows), tuple(notes),
                 tuple(records), sortable=True)  # fmt: skip


def _differences(series: SeriesResults) -> Table:
    """The difference to the baseline of each variant in each member."""
    what = f"difference in {series.metric(series.primary)} to the baseline, {series.title_of(series.baseline)}"
    title = "Differences to the baseline"
    if len(series.definition.factors) == 1:
        return _by_world(series, "differences", title, what, series.baseline, series.variants, False)
    others = [variant for variant in series.variants if variant != series.baseline]
    columns = (*_where(series), *(Column(series.title_of(variant)) for variant in others))
    rows, records = [], []
    for member in series.members:
        result = [series.effect(member, variant, series.primary, series.baseline) for variant in others]
        rows.append((*_here(series, member), *map(_difference, result)))
        records += [
            {**series.points[member], "variant": variant, **_numbers({"difference": effect})}
            for variant, effect in zip(others, result, strict=True)
        ]
    notes = (UNCORRECTED,) if series.intervals() else ()
    return Table("differences", title, _of_cells(series, what), columns, tuple(rows), notes, tuple(records),
                 sortable=True)  # fmt: skip


def _losses(series: SeriesResults) -> Table:
    """A row per strategy, a column per world: how the difference to the reference changed since the first world."""
    start = f"{series.leaf} {series.at(series.members[0])}"
    what = (
        f"change since {start} of the paired difference in {series.metric(series.primary)} to "
        f"{series.title_of(series.reference)}"
    )
    rows = tuple(name for name in series.variants if name != series.reference)
    return _by_world(series, "losses", "What was lost since the first world", what, series.reference, rows, True)


def _by_world(
    series: SeriesResults, name: str, title: str, what: str, reference: str, variants: tuple[str, ...], grown: bool
) -> Table:
    members = series.members[1:] if grown else series.members
    heading = series.leaf.capitalize()
    columns = (Column("Variant", numeric=False), *(Column(series.at(member), heading) for member in members))
    rows, records = [], []
    for variant in variants:
        result = [series.effect(member, variant, series.primary, reference, grown=grown) for member in members]
        cells = [Cell("baseline") if variant == reference else _difference(effect) for effect in result]
        rows.append((Cell(series.title_of(variant), note=variant, code=True), *cells))
        records += [
            {"variant": variant, **series.points[member], **_numbers({"difference": effect})}
            for member, effect in zip(members, result, strict=True)
        ]
    notes = (UNCORRECTED,) if series.intervals() else ()
    return Table(name, title, _of_cells(series, what), columns, tuple(rows), notes, tuple(records))


def _of_cells(series: SeriesResults, what: str) -> str:
    bold = " Bold: the interval excludes zero." if series.intervals() else ""
    return f"{what[0].upper()}{what[1:]}.{bold} {within(series)}"


def _worlds(series: SeriesResults) -> Table:
    """A row per member: its study, and what its splits hold."""
    prevalences = [Column(f"{split}", "Measured share of extra positives") for split in SPLITS]
    columns = (*_where(series), Column("Study", numeric=False), Column("Test images"), Column("Test captions"),
               *prevalences)  # fmt: skip
    rows, records = [], []
    for member in series.members:
        test = series.worlds.get((member, "test"))
        shares = {split: series.measured(member, split) for split in SPLITS}
        sizes = [Cell(count(test[name]), float(test[name])) if test else ABSENT for name in ("images", "captions")]
        summary = [Cell(_share(item), item) if math.isfinite(item) else ABSENT for item in shares.values()]
        rows.append((*_here(series, member), Cell(member), *sizes, *summary))
        records.append({**series.points[member], "study": member, **shares})
    caption = (
        f"One study per {series.noun}, each with its own report. Extra positives: other images' captions that are true "
        "of an image, as a share of all such pairs, counted in the whole relevance matrix of a split."
    )
    title = f"The {series.noun}s"
    return Table("worlds", title, caption, columns, tuple(rows), (), tuple(records))


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
    requested = len(series.shared.seeds)
    fewer = [
        f"{variant} at {series.at(member)}: {score.n_seeds if score else 0} of {requested}"
        for member in series.members
        for variant in series.variants
        if (score := series.effect(member, variant, series.primary)) is None or score.n_seeds < requested
    ]
    return [f"Seeds with a result: {'; '.join(fewer)}."] if fewer else []


def _numbers(result: dict[str, Effect | Picked | None]) -> dict[str, Any]:
    """Every number with every digit, for the CSV file."""
    row: dict[str, Any] = {}
    for name, item in result.items():
        parts: tuple[float | None, ...] = (None, None, None)
        if item is not None:
            parts = (item.value if isinstance(item, Picked) else item.estimate, item.low, item.high)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(_finite, parts), strict=True))
    return row


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
