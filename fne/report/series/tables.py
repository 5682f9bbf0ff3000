"""The tables of a series; each row says of which member it is."""

from __future__ import annotations

import math
from pathlib import Path

from fne.data.manifest import SPLITS
from fne.report.figures.picks import percent_of
from fne.report.series import components, names
from fne.report.series.results import MAP, SeriesResults, Value, name_of, numbers, open_series, value_of
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.tables.render import save
from fne.report.text.wording import UNITS, count, percent, seed_list, signed, span
from fne.report.tuning import marked
from fne.study import paths
from fne.study.api import Series
from fne.utils.errors import bad_input
from fne.utils.text import clean

QUERIES = "Test queries differ between {0}s, so scores of two {0}s are not to be compared"
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
    metric, noun, baseline = series.metric(series.primary), series.noun, series.baseline
    shown: dict[str, tuple[Column, tuple[str, str, str], str, bool]] = {
        "score": (Column("Score", metric), series.primary, "", False),
        "to_baseline": (Column("Δ baseline", metric, help=f"paired difference to the baseline, in this {noun}"),
                        series.primary, baseline, False),
    }  # fmt: skip
    if series.ceiling:
        column = Column("Δ oracle", metric, help=f"paired difference, in this {noun}")
        shown["to_oracle"] = (column, series.primary, series.ceiling, False)
    if series.definition.grows:
        column = Column("Change", metric, help="of the difference to the oracle (or baseline) since the first world")
        shown["change"] = (column, series.primary, series.reference, True)
    if MAP in series.scores:
        shown["map_at_r"] = (Column("Score", "mAP@R", detail=True), MAP, "", False)
        shown["map_at_r_to_baseline"] = (Column("Δ baseline", "mAP@R", detail=True), MAP, baseline, False)
    rows, records = [], []
    for member in series.members:
        for variant in series.variants:
            score, picked = series.effect(member, variant, series.primary), series.picked(member, variant)
            values = {key: series.effect(member, variant, which, reference, grown=grown)
                      for key, (_, which, reference, grown) in shown.items()}  # fmt: skip
            cells = [_cell(values[key], variant, reference) for key, (_, _, reference, _) in shown.items()]
            false = Cell(percent_of(picked.estimate), picked.estimate) if picked else ABSENT
            seeds = Cell(str(score.n_seeds), float(score.n_seeds)) if score else ABSENT
            rows.append((*_here(series, member), _titled(series, variant), seeds, *cells, false))
            records.append({**series.points[member], "variant": variant, "n_seeds": score.n_seeds if score else None,
                            **numbers(**values, false_picks=picked)})  # fmt: skip
    columns = (*_where(series), Column("Variant", numeric=False), Column("Seeds"),
               *(column for column, *_ in shown.values()), Column("False picks", "Training"))  # fmt: skip
    notes = [within(series), f"False picks: {series.false_picks}.", *_missing(series)]
    if series.definition.grows:
        since = f"since {series.leaf} {series.at(series.members[0])}"
        change = f"Change: of the difference to {series.title_of(series.reference)} {since}"
        notes.append(f"{change}; its interval takes two worlds as independent.")
    intervals = series.intervals()
    caption = (
        f"{clean(series.title)}: seeds {seed_list(series.shared.seeds)} in each {noun}. {UNITS} Score: mean over seeds "
        f"on the test split{f', with {intervals}' if intervals else ''}. Baseline: {series.title_of(baseline)}."
        + (f" Oracle: {series.title_of(series.ceiling)}." if series.ceiling else "")
    )
    return Table("main", f"Every strategy in every {noun}", caption, columns, tuple(rows), tuple(notes),
                 tuple(records), sortable=True)  # fmt: skip


def _differences(series: SeriesResults) -> Table:
    """The difference to the baseline of each variant in each world."""
    what = f"difference in {series.metric(series.primary)} to the baseline, {series.title_of(series.baseline)}"
    return _by_world(series, "differences", "Differences to the baseline", what, series.baseline, grown=False)


def _losses(series: SeriesResults) -> Table:
    """How the difference of each variant to the reference changed since the first world."""
    what = (
        f"change since {series.leaf} {series.at(series.members[0])} of the paired difference in "
        f"{series.metric(series.primary)} to {series.title_of(series.reference)}"
    )
    return _by_world(series, "losses", "What was lost since the first world", what, series.reference, grown=True)


def _by_world(series: SeriesResults, name: str, title: str, what: str, reference: str, *, grown: bool) -> Table:
    """A row per variant, a column per world."""
    members = series.members[grown:]
    heading = series.leaf.capitalize()
    columns = (Column("Variant", numeric=False), *(Column(series.at(member), heading) for member in members))
    rows, records = [], []
    for variant in (variant for variant in series.variants if variant != reference):
        result = [series.effect(member, variant, series.primary, reference, grown=grown) for member in members]
        rows.append((_titled(series, variant), *(_cell(effect, variant, reference) for effect in result)))
        records += [{"variant": variant, **series.points[member], **numbers(difference=effect)}
                    for member, effect in zip(members, result, strict=True)]  # fmt: skip
    shown = series.intervals()
    caption = f"{what[0].upper()}{what[1:]}.{' Bold: the interval excludes zero.' if shown else ''} {within(series)}"
    notes = ("Intervals are not corrected for the number of cells.",) if shown else ()
    return Table(name, title, caption, columns, tuple(rows), notes, tuple(records))


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
        summary = [Cell(f"{100 * item:.3g} %", item) if math.isfinite(item) else ABSENT for item in shares.values()]
        rows.append((*_here(series, member), Cell(member), *sizes, *summary))
        records.append({**series.points[member], "study": member, **shares})
    caption = (
        f"One study per {series.noun}, each with its own report. Extra positives: other images' captions that are true "
        "of an image, as a share of all such pairs, counted in the whole relevance matrix of a split."
    )
    title = f"The {series.noun}s"
    return Table("worlds", title, caption, columns, tuple(rows), (), tuple(records))


def _titled(series: SeriesResults, variant: str) -> Cell:
    return Cell(series.title_of(variant), note=variant, code=True)


def _cell(value: Value | None, variant: str, reference: str) -> Cell:
    """A score, or a difference to a reference."""
    if variant == reference:
        return Cell("reference")
    if value is None:
        return ABSENT
    shown = signed(value.estimate) if reference else percent(value.estimate)
    note = span(value.low, value.high, sign=bool(reference))
    return Cell(shown, value.estimate, bool(reference) and value.apart, note=note)


def _missing(series: SeriesResults) -> list[str]:
    requested = len(series.shared.seeds)
    fewer = [
        f"{variant} at {series.at(member)}: {score.n_seeds if score else 0} of {requested}"
        for member in series.members
        for variant in series.variants
        if (score := series.effect(member, variant, series.primary)) is None or score.n_seeds < requested
    ]
    return [f"Seeds with a result: {'; '.join(fewer)}."] if fewer else []
