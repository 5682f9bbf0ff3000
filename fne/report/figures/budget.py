"""The expected best validation score of every variant over the number of trials: who is best at which tuning budget."""

from __future__ import annotations

from fne.analysis.search import best_after
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.highlight import featured, line, others, sentence
from fne.report.figures.style import WIDTH, end_labels
from fne.report.figures.variant_styles import looks_of
from fne.report.tables.budget import HOW, TITLE, left_out
from fne.report.text.wording import number, short
from fne.report.tuning import budgets, first_round
from fne.results.study import StudyResults

ID, QUESTION = "budget", "Which variant is best at which tuning budget?"


def draw(study: StudyResults) -> Picture:
    """Draw one line per variant that has trials of its own, its band where the best lies in 95 % of searches."""
    scores, why = first_round(study)
    if not scores:
        return notice(ID, TITLE, QUESTION, why)
    some, most = study.only(scores), max(map(len, scores.values()))
    best = {variant: [best_after(found, n) for n in range(1, len(found) + 1)] for variant, found in scores.items()}
    after_all = {variant: found[-1].expected for variant, found in best.items()}
    full = featured(some, after_all)
    height = max(3.2, 0.9 + 0.19 * len(full))
    figure = canvas(WIDTH, height)
    panel = figure.subplots()
    figure.subplots_adjust(left=0.135, right=0.64, bottom=0.5 / height, top=1 - 0.15 / height)
    ends = []
    for variant in some.variants:
        found, look = best[variant.id], looks_of(study)[variant.id]
        drawn = [[getattr(one, name) for one in found] for name in ("expected", "low", "high")]
        line(panel, range(1, len(found) + 1), *drawn, look, full=variant.id in full)
        if variant.id in full:
            ends.append((after_all[variant.id], short(variant.title, 28), look))
    panel.set_xscale("log", base=2)
    panel.set_xlim(1, max(most, 2))
    panel.set_xticks(budgets(most), map(str, budgets(most)))
    panel.grid(axis="y")
    panel.set_xlabel("trials")
    panel.set_ylabel("best validation rsum")
    end_labels(panel, ends, x=1.04, size=8.5)
    others(panel, len(scores.keys() - full))
    caption = f"{HOW}. Bands: between what the best lies in 95 % of searches." + sentence(
        some, full, "that after all trials"
    )
    caption = " ".join([caption, *left_out(study)])
    told = [f"{variant.title} {number(after_all[variant.id], 0)}" for variant in some.variants]
    alt = f"Lines over 1 to {most} trials. Expected best validation rsum after all: {'; '.join(told)}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)
