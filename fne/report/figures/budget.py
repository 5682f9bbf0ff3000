"""The expected best validation score of every variant over the number of trials: who is best at which tuning budget."""

from __future__ import annotations

from fne.analysis.search import best_after
from fne.report.figures.figure import Picture, notice
from fne.report.figures.highlight import Line, draw_lines, highlight, name_lines
from fne.report.figures.panels import in_words, panels
from fne.report.tables.budget import HOW, TITLE, left_out
from fne.report.text.wording import number
from fne.report.tuning import budgets, first_round
from fne.results.study import StudyResults

ID, QUESTION = "budget", "Which variant is best at which tuning budget?"


def draw(study: StudyResults) -> Picture:
    """Draw one line per variant that has trials of its own, its band where the best lies in 95 % of searches."""
    scores, why = first_round(study.definition, study.root)
    if not scores:
        return notice(ID, TITLE, QUESTION, why)
    most = max(map(len, scores.values()))
    lines: dict[str, Line] = {}
    for variant, trials in scores.items():
        best = [best_after(trials, n) for n in range(1, len(trials) + 1)]
        middle, low, high = ([getattr(item, part) for item in best] for part in ("expected", "low", "high"))
        lines[variant] = (range(1, len(trials) + 1), middle, low, high)
    after_all = {variant: middle[-1] for variant, (_, middle, _, _) in lines.items()}
    shown = highlight(study.only(scores), "the score after all trials", after_all)
    figure, axes = panels(1, 1, 3.2)
    panel = axes[0, 0]
    draw_lines(panel, study, shown, lines)
    ends = [after_all[name] for name in shown.full]
    top = max(lines[name][3][-1] for name in shown.banded or shown.full)
    # A line may start far below all ends; then the axis begins where ends can still be distinguished.
    start = min(min(lines[name][1]) for name in shown.full)
    bottom = max(start, min(ends) - max(max(ends) - min(ends), top / 10))
    pad = 0.06 * (top - bottom) + 1
    panel.set_ylim(bottom - pad, top + pad)
    panel.set_xscale("log", base=2)
    panel.set_xlim(0.93, 1.07 * max(most, 2))
    panel.set_xticks(ticks := [n for n in budgets(most) if n == most or 1.3 * n < most], map(str, ticks))
    panel.grid(axis="y")
    panel.set_xlabel("trials")
    panel.set_ylabel("best validation rsum")
    name_lines(panel, study, shown, lines)
    caption = (
        f"{HOW}. Bands: between what the best lies in 95 % of searches; those of all are in the table. A line or band "
        f"that starts low may do so below the axis.{shown.caption} {' '.join(left_out(study))}"
    ).strip()
    scored = in_words(study, {variant: number(score, 0) for variant, score in after_all.items()})
    alt = f"Lines over 1 to {most} trials. Expected best validation rsum after all: {scored}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)
