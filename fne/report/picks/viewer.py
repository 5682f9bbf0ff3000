"""The viewer of picks: for the same anchor at the same seed and step, what each strategy picked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.registry import shown as shown_of
from fne.report.figures.variant_styles import looks_of
from fne.report.picks.book import Book, Viewer, brief
from fne.report.text.wording import count, seed_list
from fne.results.runs import ANCHOR
from fne.results.study import StudyResults
from fne.utils.seeding import numpy_stream
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd

KEY = ["seed", "step", "direction", "anchor"]
"""What makes two picks picks for the same anchor: variants are paired by seed, so they see the same batches."""
Chosen = list[tuple[str, tuple[int, ...]]]
"""Kind, a key of :data:`KINDS`, and what stands in the columns of an anchor."""
SEEDS = 3
"""The viewer looks at the study's first seeds."""
QUOTA = 20
"""Anchors of each kind and direction."""
BUDGET = 6_000_000
"""Bytes of pictures on the page; in a study of more variants than figures show, the tables take a third of the room."""
NOTEBOOK_BUDGET = 2_000_000
"""The same in a cell of a notebook."""
KINDS = {
    "false": "from anchors for which some strategy picked a known false negative",
    "disagree": "from anchors for which the strategies picked different negatives",
    "random": "from all anchors",
    "selected": "from a selection of picks",
}
NUMBERS = ("similarity", "positive_similarity", "posterior", "weight")
NOTE = (
    " Weight: the sampling weight of a strategy that draws, the loss weight of one that uses all; a dash where a "
    "strategy computes none. Own pair: similarity of the anchor and its own positive."
)
KIND, TITLE = "picks", "Picks viewer"
NO_DATA = "There are no picks to show: the prepared data (images and captions) are not on this machine."


def viewer(study: StudyResults, budget: int = BUDGET) -> Viewer:
    """Choose anchors of the main phase, always the same, and gather what each strategy picked for them.

    Args:
        study: A finished study.
        budget: Greatest sum of the embedded pictures, in bytes.

    Raises:
        UserError: A file of picks is damaged.
    """
    whole, study = study, shown_of(study)
    left = len(whole.variants) - len(study.variants)
    if study.manifest is None:
        return Viewer(KIND, NO_DATA)
    picks = shared_picks(study)
    if picks.empty:
        return Viewer(KIND, "There are no picks to show: no run kept any.")
    rule = (
        f"the {count(len(picks[KEY].drop_duplicates()))} anchors that the runs logged after their warm-up (seeds "
        f"{seed_list(sorted(map(int, picks['seed'].unique())))}), drawn at random, always the same draw. False "
        "negatives and disagreements are drawn on purpose, so their share here is not how often they happen; the "
        "tables and figures say that."
    )
    if left:
        rule += f" The {count(left)} variants that the figures leave out do not take part."
    return gather(study, picks, KEY, choose(picks), 2 * budget // 3 if left else budget, rule)


def selection(study: StudyResults, picks: pd.DataFrame, most: int) -> Viewer:
    """Show picks that somebody selected: of evenly spread anchors, always the same.

    Args:
        study: Whose picks they are.
        picks: As of :meth:`fne.results.study.StudyResults.picks`.
        most: Anchors that are shown at most.
    """
    if study.manifest is None:
        return Viewer(KIND, NO_DATA)
    keys = list(dict.fromkeys(picks[list(ANCHOR)].itertuples(index=False, name=None)))
    places = np.linspace(0, len(keys) - 1, min(len(keys), most)).round().astype(int)
    rule = f"the {count(len(keys))} anchors of these picks, spread evenly over the rows."
    return gather(study, picks, [*ANCHOR], [("selected", keys[place]) for place in places], NOTEBOOK_BUDGET, rule)


def gather(study: StudyResults, picks: pd.DataFrame, key: list[str], chosen: Chosen, budget: int, rule: str) -> Viewer:
    """What the viewer's script reads of so many anchors as the budget holds.

    Args:
        study: With prepared data.
        picks: All rows.
        key: The columns that name an anchor.
        chosen: The anchors.
        budget: In bytes.
        rule: How they were chosen, behind "3 of ".
    """
    assert study.manifest is not None
    rows = picks.groupby(key, sort=False).indices
    present = {*picks["variant"].unique()}
    names = [variant.id for variant in study.variants if variant.id in present]
    book, anchors = Book.of(study.manifest, study.manifest.split("train"), budget), []
    for kind, name in chosen:
        made = _anchor(book, kind, picks.iloc[rows[name]], names)
        if made is None:
            break
        anchors.append(made)
    looks = looks_of(study)
    content = {
        "strategies": [[name, clean(study[name].title), looks[name].colour] for name in names],
        "kinds": KINDS,
        "items": anchors,
    }
    return book.viewer(KIND, content, f"{len(anchors)} of {rule}", len(anchors) < len(chosen), NOTE)


def shared_picks(study: StudyResults) -> pd.DataFrame:
    """The picks of the main phase of the first seeds, of all variants, one per variant and anchor."""
    import pandas as pd

    frames = [pd.DataFrame()]
    for place, variant in enumerate(study.variants):
        rows = study.picks(variant.id)
        if len(rows):
            warm = variant.config["warmup"]["epochs"]
            rows = rows[rows["seed"].isin(study.seeds[:SEEDS]) & (rows["epoch"] >= warm)]
            frames.append(rows.assign(place=place).drop_duplicates(KEY))
    picks = pd.concat(frames, ignore_index=True)
    return picks if picks.empty else picks.sort_values([*KEY, "place"], kind="stable", ignore_index=True)


def choose(picks: pd.DataFrame) -> Chosen:
    """Draw anchors by kind and direction, up to :data:`QUOTA` each, taking turns; an anchor comes once.

    Only anchors that two variants or more picked for can be compared, where there are two at all.

    Args:
        picks: See :func:`shared_picks`.

    Returns:
        (kind, key), the key in the order of :data:`KEY`.
    """
    grouped = picks.groupby(KEY, sort=True)
    result = grouped.agg(n=("variant", "size"), candidates=("candidate", "nunique"), truth=("false_negative", "max"))
    result = result[result["n"] >= min(2, picks["variant"].nunique())].reset_index()
    kept = {
        "false": (result["truth"] == 1).fillna(False),
        "disagree": result["candidates"] > 1,
        "random": result["n"] > 0,
    }
    queues = []
    for kind, mask in kept.items():
        for direction in (0, 1):
            rows = result[mask & (result["direction"] == direction)]
            order = numpy_stream(0, "report", "viewer", kind, direction).permutation(len(rows))
            keys = list(rows[KEY].iloc[order].itertuples(index=False, name=None))
            queues.append((kind, iter(keys)))
    taken: dict[tuple[int, ...], str] = {}
    for _ in range(QUOTA):
        for kind, queue in queues:
            key = next((key for key in queue if key not in taken), None)
            if key is not None:
                taken[key] = kind
    return [(kind, key) for key, kind in taken.items()]


def _anchor(book: Book, kind: str, rows: pd.DataFrame, names: list[str]) -> dict[str, Any] | None:
    """One anchor with its picks, or ``None`` where its images are beyond the budget."""
    first = rows.iloc[0]
    direction, anchor, candidates = int(first["direction"]), int(first["anchor"]), rows["candidate"].to_numpy(int)
    if not book.admit(direction, anchor, candidates):
        return None
    own, other = book.sides(direction)
    return {
        "seed": int(first["seed"]),
        "epoch": int(first["epoch"]) + 1,
        "step": int(first["step"]),
        "direction": direction,
        "kind": kind,
        "item": own(anchor),
        "picks": [
            [
                names.index(row["variant"]),
                other(int(row["candidate"])),
                *(brief(row[name]) for name in NUMBERS),
                int(row["from_queue"]),
                int(row["age"]) if row["from_queue"] else None,
                int(row["false_negative"]),  # -1: not known
            ]
            for row in rows.fillna({"false_negative": -1}).to_dict("records")
        ],
    }
