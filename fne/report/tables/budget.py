"""Which variant is best at which tuning budget: the expected best validation score after so many trials."""

from __future__ import annotations

from fne.analysis.search import best_after
from fne.report.tables.cells import ABSENT, Cell, Column, Table, title
from fne.report.text.wording import listing, number, titles
from fne.report.tuning import budgets, first_round, searched
from fne.results.study import StudyResults

TITLE = "Score against tuning budget"
HOW = (
    "Expected best validation rsum (0 to 600) after n trials of the first round of the search, drawn from all of them "
    "with replacement (Dodge et al. 2019), so that the order in which they were made does not matter; further rounds, "
    "and ranges that they extended, are not in it"
)


def budget_table(study: StudyResults) -> Table:
    """Build one row per variant with trials of its own, one column per budget; or no row, and why."""
    scores, why = first_round(study.definition, study.root)
    most = max(map(len, scores.values()), default=1)
    columns = [Column("Variant", numeric=False)]
    columns += [Column(str(n), "Best validation rsum after n trials") for n in budgets(most)]
    if not scores:
        return Table("budget", TITLE, f"Nothing to show: {why}.", tuple(columns), ())
    rows, records = [], []
    for variant, result in scores.items():
        best = {n: best_after(result, n) for n in budgets(len(result))}
        cells = (
            Cell(number(best[n].expected), best[n].expected, note=f"[{number(best[n].low)}, {number(best[n].high)}]")
            if n in best
            else ABSENT
            for n in budgets(most)
        )
        rows.append((title(study[variant]), *cells))
        records += [
            {"variant": variant, "n": n, "expected": item.expected, "low": item.low, "high": item.high}
            for n, item in best.items()
        ]
    caption = f"{HOW}; in brackets, between what it lies in 95 % of searches. A column is read down: who is best at it."
    return Table("budget", TITLE, caption, tuple(columns), tuple(rows), tuple(left_out(study)), tuple(records),
                 sortable=True)  # fmt: skip


def left_out(study: StudyResults) -> list[str]:
    """Which variants have no trials of their own, or fewer than others, and why."""
    scores, _ = first_round(study.definition, study.root)
    most = max(map(len, scores.values()))
    fewer = [f"{titles(study, [name])} ({len(scores.get(name, ()))})" for name in searched(study)
             if len(scores.get(name, ())) < most]  # fmt: skip
    without = [name for name in study.definition.variants if name not in searched(study)]
    notes = []
    if fewer:
        notes.append(
            f"Fewer than {most} trials of their own: {listing(fewer)}; trials of equal configs are made once, and "
            "stand under the name of one variant."
        )
    if without:
        notes.append(f"Without a row, for they have no search of their own: {titles(study, without)}.")
    return notes
