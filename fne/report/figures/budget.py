"""The expected best validation score of every variant over the number of trials: who is best at which tuning budget."""

from __future__ import annotations

from collections.abc import Sequence

from fne.analysis.search import best_after
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.highlight import banded, bands_of, featured, line, others, sentence
from fne.report.figures.style import WIDTH, end_labels
from fne.report.figures.variant_styles import looks_of
from fne.report.tables.budget import HOW, TITLE, left_out
from fne.report.text.wording import number, short
from fne.report.tuning import budgets, first_round
from fne.results.study import StudyResults

ID, QUESTION = "budget", "Which variant is best at which tuning budget?"


def draw(study: StudyResults) -> Picture:
    """Draw one line per variant that has trials of its own, its band where the best lies in 95 % of searches."""
    scores, why = first_round(study.definition, study.root)
    if not scores:
        return notice(ID, TITLE, QUESTION, why)
    some, most = study.only(scores), max(map(len, scores.values()))
    best = {variant: [best_after(result, n) for n in range(1, len(result) + 1)] for variant, result in scores.items()}
    middle = {variant: [item.expected for item in result] for variant, result in best.items()}
    after_all = {variant: result[-1] for variant, result in middle.items()}
    full = featured(some, after_all)
    wide = banded(some, full)
    height = max(3.2, 0.9 + 0.19 * len(full))
    figure = canvas(WIDTH, height)
    panel = figure.subplots()
    figure.subplots_adjust(left=0.135, right=0.615, bottom=0.5 / height, top=1 - 0.15 / height)
    labels = []
    for variant in some.variants:
        result, look = middle[variant.id], looks_of(study)[variant.id]
        low, high = ([getattr(item, end) for item in best[variant.id]] for end in ("low", "high"))
        line(panel, range(1, len(result) + 1), result, low, high, look,
             full=variant.id in full, band=variant.id in wide)  # fmt: skip
        if variant.id in full:
            labels.append((result[-1], short(variant.title, 28), look))
    panel.set_ylim(*window([middle[name] for name in full], max(best[name][-1].high for name in wide or full)))
    panel.set_xscale("log", base=2)
    panel.set_xlim(0.93, 1.07 * max(most, 2))
    panel.set_xticks(ticks := [n for n in budgets(most) if n == most or 1.3 * n < most], map(str, ticks))
    panel.grid(axis="y")
    panel.set_xlabel("trials")
    panel.set_ylabel("best validation rsum")
    end_labels(panel, labels, x=1.04, size=8.5)
    others(panel, len(scores.keys() - full))
    bands = (
        f"Bands{bands_of(some, full)}: between what the best lies in 95 % of searches; those of all are in the table. "
        "A line or band that starts low may do so below the axis."
    )
    shown = sentence(some, full, "the score after all trials").strip()
    caption = " ".join(filter(None, [f"{HOW}.", bands, shown, *left_out(study)]))
    summary = [f"{variant.title} {number(after_all[variant.id], 0)}" for variant in some.variants]
    alt = f"Lines over 1 to {most} trials. Expected best validation rsum after all: {'; '.join(summary)}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def window(lines: Sequence[Sequence[float]], top: float) -> tuple[float, float]:
    """The heights that matter: up to a height, down to the ends of all lines, and to their starts unless very low."""
    ends = [item[-1] for item in lines]
    low = max(min(map(min, lines)), min(ends) - max(max(ends) - min(ends), top / 10))
    pad = 0.06 * (top - low) + 1
    return low - pad, top + pad
