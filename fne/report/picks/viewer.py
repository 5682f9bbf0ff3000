"""The picks viewer: for the same anchor at the same seed and step, what each strategy picked for it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.registry import shown as shown_of
from fne.report.figures.variant_styles import looks_of
from fne.report.picks.thumbnails import SIDE, Pictures
from fne.report.text.wording import count, seed_list
from fne.results.runs import ANCHOR
from fne.results.study import StudyResults
from fne.utils.seeding import numpy_stream
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd

    from fne.data.manifest import Manifest

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
NO_DATA = "There are no picks to show: the prepared data (images and captions) are not on this machine."


@dataclass(frozen=True)
class Viewer:
    """What the viewer shows.

    Args:
        rule: How the anchors were chosen, in words; or why there are none.
        data: What its script reads, as JSON that is safe in a ``<script>`` element; ``None`` where there is nothing.
        anchors: How many anchors there are.
        pixelated: Whether pictures are enlarged pixel by pixel, as those of a small drawn world.
    """

    rule: str
    data: str | None = None
    anchors: int = 0
    pixelated: bool = False


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
        return Viewer(NO_DATA)
    picks = shared_picks(study)
    if picks.empty:
        return Viewer("There are no picks to show: no run kept any.")
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
        return Viewer(NO_DATA)
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
    groups = dict(iter(picks.groupby(key, sort=False)))
    names = [variant.id for variant in study.variants if variant.id in set(picks["variant"])]
    book, anchors = _Book(study.manifest, Pictures(budget)), []
    for kind, name in chosen:
        made = book.anchor(kind, groups[name], names)
        if made is None:
            break
        anchors.append(made)
    looks = looks_of(study)
    content = {
        "strategies": [[name, clean(study[name].title), looks[name].colour] for name in names],
        "pictures": book.pictures.embedded,
        "images": book.images,
        "captions": book.captions,
        "kinds": KINDS,
        "anchors": anchors,
    }
    words = f"{len(anchors)} of {rule} Pictures are at most {SIDE} pixels wide or high"
    if len(anchors) < len(chosen):
        words += f" and {budget / 1e6:.1f} MB together, which is why there are no more anchors"
    words += "."
    if book.pictures.unreadable:
        words += f" Pictures that could not be read: {book.pictures.unreadable}."
    return Viewer(words, safe_json(content), len(anchors), pixelated=study.dataset == "scenes")


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


class _Book:
    """The images and captions that anchors refer to, each once."""

    def __init__(self, manifest: Manifest, pictures: Pictures) -> None:
        self.manifest, self.view, self.pictures = manifest, manifest.split("train"), pictures
        self.images: list[list[Any]] = []  # picture or None, place of its first caption, id
        self.captions: list[list[Any]] = []  # text, place of its image
        self._image_at: dict[int, int] = {}
        self._caption_at: dict[int, int] = {}

    def anchor(self, kind: str, rows: pd.DataFrame, names: list[str]) -> dict[str, Any] | None:
        """One anchor with its picks, or ``None`` where its pictures are beyond the budget."""
        first = rows.iloc[0]
        direction, anchor, candidates = int(first["direction"]), int(first["anchor"]), rows["candidate"].to_numpy(int)
        image_of = self.view.caption_image
        images = {anchor, *image_of[candidates]} if direction == 0 else {int(image_of[anchor]), *candidates}
        if not self.pictures.admit(self._files(sorted(map(int, images)))):
            return None
        own, other = (self._image, self._caption) if direction == 0 else (self._caption, self._image)
        return {
            "seed": int(first["seed"]),
            "epoch": int(first["epoch"]) + 1,
            "step": int(first["step"]),
            "direction": direction,
            "kind": kind,
            "anchor": own(anchor),
            "picks": [
                [
                    names.index(row["variant"]),
                    other(int(row["candidate"])),
                    *(float(f"{row[name]:.4g}") if math.isfinite(row[name]) else None for name in NUMBERS),
                    int(row["from_queue"]),
                    int(row["age"]) if row["from_queue"] else None,
                    int(row["false_negative"]),  # -1: not known
                ]
                for row in rows.fillna({"false_negative": -1}).to_dict("records")
            ],
        }

    def _files(self, images: Iterable[int]) -> list[Path]:
        return [self.manifest.root / self.manifest.image_files[self.view.image_rows[image]] for image in images]

    def _image(self, image: int) -> int:
        """The place of an image of the train split with its first caption."""
        if image not in self._image_at:
            self._image_at[image] = len(self.images)
            picture = self.pictures.number(*self._files([image]))
            entry: list[Any] = [picture, None, clean(str(self.view.image_ids[image]))]
            self.images.append(entry)
            entry[1] = self._caption(int(np.searchsorted(self.view.caption_image, image)))
        return self._image_at[image]

    def _caption(self, caption: int) -> int:
        """The place of a caption of the train split with its image."""
        if caption not in self._caption_at:
            self._caption_at[caption] = len(self.captions)
            entry: list[Any] = [clean(self.view.texts[caption]), None]
            self.captions.append(entry)
            entry[1] = self._image(int(self.view.caption_image[caption]))
        return self._caption_at[caption]


def safe_json(value: Any) -> str:
    """JSON in letters of ASCII that cannot end a ``<script>`` element nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
