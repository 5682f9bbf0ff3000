"""The picks viewer: for the same anchor at the same seed and step, what each strategy picked for it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.registry import shown as shown_of
from fne.report.figures.variant_styles import looks_of
from fne.report.picks.thumbnails import SIDE, Pictures
from fne.report.text.wording import count, seed_list
from fne.results.study import StudyResults
from fne.utils.seeding import numpy_stream
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd

    from fne.data.manifest import Manifest, SplitView

KEY = ["seed", "step", "direction", "anchor"]
"""What makes two picks picks for the same anchor: variants are paired by seed, so they see the same batches."""
SEEDS = 3
"""The viewer looks at the study's first seeds."""
QUOTA = 20
"""Anchors of each kind and direction."""
BUDGET = 6_000_000
"""Bytes of pictures on the page."""
CROWDED_BUDGET = 4_000_000
"""The same in a study of more variants than figures show."""
NOTEBOOK_BUDGET = 2_000_000
"""The same in a cell of a notebook."""
KINDS = {
    "false": "from anchors for which some strategy picked a known false negative",
    "disagree": "from anchors for which the strategies picked different negatives",
    "random": "from all anchors",
}
NUMBERS = ("similarity", "positive_similarity", "posterior", "weight")


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
    data: str | None
    anchors: int
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
    if len(study.variants) < len(whole.variants):  # their tables take the room
        budget = min(budget, CROWDED_BUDGET)
    if study.manifest is None:
        return _none("the prepared data (images and captions) are not on this machine")
    picks = shared_picks(study)
    if picks.empty:
        return _none("no run kept any")
    names = [variant.id for variant in study.variants]
    groups = dict(iter(picks.groupby(KEY, sort=False)))
    book = _Book(study.manifest, Pictures(budget))
    anchors, full = [], False
    for kind, key in choose(picks):
        made = book.anchor(kind, groups[key], names)
        if made is None:
            full = True
            break
        anchors.append(made)
    shown = sorted({pick[0] for anchor in anchors for pick in anchor["picks"]})
    place = {number: position for position, number in enumerate(shown)}
    for anchor in anchors:
        anchor["picks"] = [[place[first], *rest] for first, *rest in anchor["picks"]]

    def strategy(number: int) -> list[str]:
        look = looks_of(study)[names[number]]
        return [names[number], clean(study.variants[number].title), look.colour, look.clip]

    content = {
        "strategies": [strategy(number) for number in shown],
        "pictures": book.pictures.embedded,
        "images": book.images,
        "captions": book.captions,
        "kinds": KINDS,
        "anchors": anchors,
    }
    rule = _rule(study, picks, anchors, book.pictures, full)
    left = len(whole.variants) - len(study.variants)
    if left:
        rule += (
            f" Only the {len(study.variants)} variants that the figures show take part, the baseline and the best by "
            f"the primary metric; {count(left)} do not."
        )
    return Viewer(rule, safe_json(content), len(anchors), pixelated=study.dataset == "scenes")


def shared_picks(study: StudyResults) -> pd.DataFrame:
    """The picks of the main phase of the first seeds, of all variants, one per variant and anchor."""
    import pandas as pd

    frames = []
    for number, variant in enumerate(study.variants):
        rows = study.picks(variant.id)
        if len(rows):
            warm = variant.config["warmup"]["epochs"]
            rows = rows[rows["seed"].isin(study.seeds[:SEEDS]) & (rows["epoch"] >= warm)]
            frames.append(rows.assign(variant=number).drop_duplicates(KEY))
    if not frames:
        return pd.DataFrame()
    return pd.concat(frames, ignore_index=True).sort_values([*KEY, "variant"], kind="stable", ignore_index=True)


def choose(picks: pd.DataFrame) -> list[tuple[str, tuple[int, ...]]]:
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
    for kind in KINDS:
        for direction in (0, 1):
            rows = result[kept[kind] & (result["direction"] == direction)]
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
        direction = int(first["direction"])
        images = set(_images(self.view, direction, int(first["anchor"]), rows["candidate"].to_numpy()))
        if not self.pictures.admit(_file(self.manifest, self.view, image) for image in sorted(images)):
            return None
        own, other = (self._image, self._caption) if direction == 0 else (self._caption, self._image)
        return {
            "seed": int(first["seed"]),
            "epoch": int(first["epoch"]) + 1,
            "step": int(first["step"]),
            "direction": direction,
            "kind": kind,
            "anchor": own(int(first["anchor"])),
            "picks": [
                [
                    int(row["variant"]),
                    other(int(row["candidate"])),
                    *(_rounded(row[name]) for name in NUMBERS),
                    int(row["from_queue"]),
                    int(row["age"]) if row["from_queue"] else None,
                    _truth(row["false_negative"]),
                ]
                for row in rows.to_dict("records")
            ],
        }

    def _image(self, image: int) -> int:
        """The place of an image of the train split with its first caption."""
        if image not in self._image_at:
            self._image_at[image] = len(self.images)
            number = self.pictures.number(_file(self.manifest, self.view, image))
            entry: list[Any] = [number, None, clean(str(self.view.image_ids[image]))]
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


def _images(view: SplitView, direction: int, anchor: int, candidates: np.ndarray) -> Iterator[int]:
    """The images that an anchor needs: its own, and each candidate's."""
    yield anchor if direction == 0 else int(view.caption_image[anchor])
    yield from (view.caption_image[candidates] if direction == 0 else candidates).tolist()


def _file(manifest: Manifest, view: SplitView, image: int) -> Path:
    return manifest.root / manifest.image_files[view.image_rows[image]]


def _truth(false_negative: Any) -> int:
    """1 a false negative, 0 a true negative, -1 not known (missing in the column)."""
    import pandas as pd

    return -1 if pd.isna(false_negative) else int(false_negative)


def _rounded(value: float) -> float | None:
    """Four digits that matter; NaN, where a strategy computes no such number, is nothing."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def safe_json(value: Any) -> str:
    """JSON in letters of ASCII that cannot end a ``<script>`` element nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _none(why: str) -> Viewer:
    return Viewer(f"There are no picks to show: {why}.", None, 0)


def _rule(study: StudyResults, picks: pd.DataFrame, anchors: list[Any], pictures: Pictures, full: bool) -> str:
    logged = picks[KEY].drop_duplicates()
    by_kind = {kind: sum(anchor["kind"] == kind for anchor in anchors) for kind in KINDS}
    drawn = "; ".join(f"{number} {KINDS[kind]}" for kind, number in by_kind.items() if number)
    seeds = seed_list(sorted(int(seed) for seed in logged["seed"].unique()))
    parts = [
        f"{len(anchors)} of the {count(len(logged))} anchors that the runs logged after their warm-up (seed"
        f"{'s' if logged['seed'].nunique() > 1 else ''} {seeds}), drawn at random, always the same draw: {drawn}.",
        "False negatives and disagreements are drawn on purpose, so their share here is not how often they happen; the "
        "tables and figures above say that.",
        f"Pictures are at most {SIDE} pixels wide or high, {_megabytes(pictures.used)} MB of the "
        f"{_megabytes(pictures.budget)} MB that this page allows for them"
        + (", which is why there are no more anchors." if full else "."),
    ]
    if pictures.unreadable:
        several = pictures.unreadable > 1
        parts.append(f"{pictures.unreadable} picture{'s' if several else ''} could not be read.")
    return " ".join(parts)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"
