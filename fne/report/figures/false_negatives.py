"""Rate of known false negatives among the picks, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fne.report.figures.curves import epochs, shade_warmup, shaded
from fne.report.figures.figure import Picture, notice
from fne.report.figures.highlight import draw_lines, highlight, name_lines
from fne.report.figures.panels import in_percent, in_words, panels
from fne.report.figures.picks import percent_of, truth_sentence
from fne.report.figures.style import wrapped
from fne.report.text.summary import relevant_words
from fne.report.text.wording import seed_list
from fne.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd

ID, TITLE = "false_negatives", "False negatives among the picks, by epoch"
QUESTION = "Does a method pick more or fewer false negatives as training goes on, and does the direction matter?"
PANELS = {"i2t": "image → text: captions picked for an image", "t2i": "text → image: images picked for a caption"}


def draw(study: StudyResults) -> Picture:
    """Draw one panel per direction: the rate of every variant with its interval."""
    rows = study.audited("epochs")
    if rows.empty:
        return notice(ID, TITLE, QUESTION, "no run has kept any pick")
    whole = rows[rows["epoch"].isna() & (rows["direction"] == "both") & rows["rate"].notna()]
    rows = rows[rows["epoch"].notna() & rows["rate"].notna()]
    if not rows["false_negatives"].sum():
        return notice(ID, TITLE, QUESTION, "no false negative of the train split is known for this data set")
    total = dict(zip(whole["variant"], whole["rate"], strict=True))
    shown = highlight(study, "share over the epochs that are after every warm-up", total)
    figure, axes = panels(2, 1, 5.8, sharex=True, sharey=True)
    axes[0, 0].set_ylim(0, min(1.0, 1.08 * float(rows["high"].fillna(rows["rate"]).quantile(0.98))))
    shade_warmup(axes[:, 0], rows)
    for panel, (direction, words) in zip(axes[:, 0], PANELS.items(), strict=True):
        panel.set_title(wrapped(words))
        own = rows[rows["direction"] == direction].sort_values("epoch")
        frames = {variant.id: own[own["variant"] == variant.id] for variant in study.variants}
        lines = {
            name: (frame["epoch"] + 1, frame["rate"], frame["low"], frame["high"])
            for name, frame in frames.items()
            if len(frame)
        }
        draw_lines(panel, study, shown, lines)
        panel.grid(axis="y")
        panel.yaxis.set_major_formatter(in_percent)
        name_lines(panel, study, shown, lines)
    epochs(axes[-1, 0], rows)
    caption = (
        f"Share of the logged picks that is {relevant_words(study)} to its anchor ({seeds(study)})."
        f"{intervals_of(rows, 'Bands')}{shaded(rows)}{logged(study)}{truth_sentence(study)}{shown.caption}"
    )
    shares = in_words(study, {name: percent_of(rate) for name, rate in total.items()})
    alt = f"Two line plots by epoch. Share of false negatives over the epochs after every warm-up: {shares or 'none'}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def logged(study: StudyResults) -> str:
    """How many of the picks the runs have kept, in words that begin with a space; empty where nothing says so."""
    shares = [
        run["picks"]["share_of_all_picks"] for variant in study.variants for run in variant.runs if "picks" in run
    ]
    if not shares:
        return ""
    if min(shares) == 1:
        return " Every pick is logged."
    return f" Logged: at least {percent_of(min(shares))} of the steps, evenly spaced over an epoch."


def seeds(study: StudyResults) -> str:
    """The seeds whose picks are shown."""
    result = sorted({seed for variant in study.variants for seed in variant.seeds})
    return f"seed{'s' if len(result) != 1 else ''} {seed_list(result)}"


def intervals_of(rows: pd.DataFrame, mark: str) -> str:
    """How the intervals of a table were made, in a sentence after a space; empty where it has none.

    Args:
        rows: With ``low``, ``seeds`` and ``method``.
        mark: What draws them.
    """
    made = rows[rows["low"].notna()]
    return f" {mark}: 95 % intervals, {made.loc[made['seeds'].idxmax(), 'method']}." if len(made) else ""
