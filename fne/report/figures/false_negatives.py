"""Rate of known false negatives among the picks, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fne.report.figures.curves import shaded, warm
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.highlight import banded, bands_of, featured, line, others, sentence
from fne.report.figures.picks import percent_of
from fne.report.figures.style import WIDTH, end_labels
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import TRUTH_WORDS, relevant_words, shared_phrase, truth_kind
from fne.report.text.wording import seed_list, short
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
    full = featured(study, dict(zip(whole["variant"], whole["rate"], strict=True)))
    height = 0.75 + 2 * max(2.2, 0.3 + 0.16 * len(full))
    figure = canvas(WIDTH, height)
    axes = figure.subplots(2, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.12, right=0.64, bottom=0.5 / height, top=1 - 0.3 / height, hspace=0.16)
    last = int(rows["epoch"].max()) + 1
    axes[0].set_ylim(0, min(1.0, 1.08 * float(rows["high"].fillna(rows["rate"]).quantile(0.98))))
    for place, (panel, (direction, words)) in enumerate(zip(axes, PANELS.items(), strict=True)):
        warm(panel, rows, name_it=place == 0)
        panel.set_title(words)
        ends = []
        for variant in study.variants:
            own = rows[(rows["variant"] == variant.id) & (rows["direction"] == direction)].sort_values("epoch")
            if own.empty:
                continue
            epochs = own["epoch"].to_numpy() + 1
            look = looks_of(study)[variant.id]
            line(panel, epochs, own["rate"], own["low"], own["high"], look,
                 full=variant.id in full, band=variant.id in banded(study, full))  # fmt: skip
            if variant.id in full:
                ends.append((float(own["rate"].iloc[-1]), short(variant.title, 28), look))
        panel.grid(axis="y")
        panel.set_xlim(0.6, last + 0.15)
        panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        end_labels(panel, ends, x=1.04, size=8.5)
    others(axes[-1], len({*rows["variant"]} - full))
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    kind = truth_kind(study, "train")
    caption = (
        f"Share of the logged picks that is {relevant_words(study)} to its anchor ({seeds(study)})."
        f"{intervals_of(rows, f'Bands{bands_of(study, full)}')}{shaded(rows)}{logged(study)}"
        + (f" In the train split {TRUTH_WORDS[kind]}." if kind else "")
    )
    if study.shared_epochs:
        caption += sentence(study, full, f"share over {shared_phrase(study)}")
    whole = whole.set_index("variant")
    summary = [
        f"{variant.title} {percent_of(whole.loc[variant.id, 'rate'])}"
        for variant in study.variants
        if variant.id in whole.index
    ]
    alt = f"Two line plots over {last} epochs."
    if summary:
        alt += f" False negatives among the picks of {shared_phrase(study)}: {'; '.join(summary)}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def logged(study: StudyResults) -> str:
    """How many of the picks the runs have kept, in words that begin with a space; empty where nothing says so."""
    shares = {
        round(run["picks"]["share_of_all_picks"], 4)
        for variant in study.variants
        for run in variant.runs
        if "picks" in run
    }
    if not shares:
        return ""
    low, high = min(shares), max(shares)
    summary = percent_of(low) if low == high else f"{percent_of(low)} to {percent_of(high)}"
    return " Every pick is logged." if low == 1 else f" Logged: {summary} of the steps, evenly spaced over an epoch."


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
