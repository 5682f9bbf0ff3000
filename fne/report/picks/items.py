"""Picks as a person can judge them: an anchor, the negative picked for it, whether they match in truth."""

from __future__ import annotations

import base64
import html
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.results.study import StudyResults
from fne.utils.seeding import numpy_stream
from fne.utils.text import clean

if TYPE_CHECKING:
    from fne.data.manifest import Manifest, SplitView

AT_RANDOM, FALSE_ONES = 3, 3
"""Examples per variant: drawn from all picks, and from those that are known false negatives."""
SIDE = 112
"""Longest side of a picture, in pixels."""
TRUTH = {1: "in truth a match: a false negative", 0: "a true negative", -1: "truth not known"}
"""What is known of a pick, in words."""


@dataclass(frozen=True)
class Item:
    """An image with a caption; ``asked`` says which of the two took part in the pick."""

    image: Path
    caption: str
    asked: str


@dataclass(frozen=True)
class Example:
    """One pick.

    Args:
        kind: ``random`` or ``false``: what it was drawn from.
        anchor: The anchor with its own positive.
        picked: The picked negative with its own partner.
        similarity: Between anchor and picked negative.
        positive_similarity: Between the anchor and its own positive.
        posterior: Probability of a false negative that the strategy computed; NaN where it computes none.
        weight: Sampling weight of the pick.
        from_queue: Whether it came out of the memory.
        truth: 1 a false negative, 0 a true negative, -1 not known.
        seed: Seed of the run.
        epoch: Epoch, counted from 1.
    """

    kind: str
    anchor: Item
    picked: Item
    similarity: float
    positive_similarity: float
    posterior: float
    weight: float
    from_queue: bool
    truth: int
    seed: int
    epoch: int

    @property
    def verdict(self) -> str:
        """The truth in words."""
        return TRUTH[self.truth]


def sample(
    study: StudyResults, variant: str, at_random: int = AT_RANDOM, false_ones: int = FALSE_ONES
) -> list[Example]:
    """Draw picks of the main phase, some from all, some from the known false negatives; always the same.

    Raises:
        UserError: The prepared data are not at hand (there are no captions or images to show).
    """
    picks = study.picks(variant)
    if picks.empty or study.manifest is None:
        return []
    warm = study[variant].config["warmup"]["epochs"]
    picks = picks[picks["epoch"] >= warm].sort_values(
        ["seed", "step", "direction", "anchor", "candidate"], kind="stable"
    )
    view = study.manifest.split("train")
    chosen = []
    for kind, rows, size in (
        ("random", picks, at_random),
        ("false", picks[(picks["false_negative"] == 1).fillna(False)], false_ones),
    ):
        draw = numpy_stream(0, "report", "picks", kind)
        places = np.sort(draw.choice(len(rows), size=min(size, len(rows)), replace=False))
        chosen += [_example(study.manifest, view, row, kind) for row in rows.iloc[places].to_dict("records")]
    return chosen


def truth_of(false_negative: Any) -> int:
    """A key of :data:`TRUTH` from a value of the column ``false_negative``, in which what is not known is missing."""
    import pandas as pd

    return -1 if pd.isna(false_negative) else int(false_negative)


def _example(manifest: Manifest, view: SplitView, row: dict, kind: str) -> Example:
    direction = int(row["direction"])
    return Example(
        kind,
        paired(manifest, view, direction, int(row["anchor"])),
        paired(manifest, view, 1 - direction, int(row["candidate"])),
        float(row["similarity"]),
        float(row["positive_similarity"]),
        float(row["posterior"]),
        float(row["weight"]),
        bool(row["from_queue"]),
        truth_of(row["false_negative"]),
        int(row["seed"]),
        int(row["epoch"]) + 1,
    )


def paired(manifest: Manifest, view: SplitView, side: int, place: int) -> Item:
    """An image (side 0) with its first caption, or a caption (side 1) with its image; positions within the split."""
    image = place if side == 0 else int(view.caption_image[place])
    caption = int(np.searchsorted(view.caption_image, image)) if side == 0 else place
    file = manifest.root / manifest.image_files[view.image_rows[image]]
    return Item(file, clean(view.texts[caption]), ("image", "caption")[side])


def thumbnail(file: Path) -> str | None:
    """A small JPEG as a ``data:`` address, or ``None`` where the file cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow calls a broken PNG a SyntaxError
        return None
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(frozen=True)
class Gallery:
    """Picks that a notebook shows as pictures and captions."""

    title: str
    examples: tuple[Example, ...]

    def _repr_html_(self) -> str:
        cards = "".join(_card(example) for example in self.examples) or "<p>No picks to show.</p>"
        grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:.8rem"
        return f'<h4>{html.escape(self.title)}</h4><div style="{grid}">{cards}</div>'


def _card(example: Example) -> str:
    sides = []
    for role, item in (("Anchor", example.anchor), ("Picked", example.picked)):
        address, faint = thumbnail(item.image), "opacity:.5;"
        style = "width:100%;max-width:8rem;" + (faint if item.asked == "caption" else "")
        picture = f'<img src="{address}" alt="" style="{style}">' if address else ""
        words = f'<div style="{faint if item.asked == "image" else ""}">{html.escape(item.caption)}</div>'
        sides.append(f"<div>{role}: {item.asked}<br>{picture}{words}</div>")
    posterior = "" if math.isnan(example.posterior) else f", posterior {example.posterior:.2g}"
    told = f"similarity {example.similarity:.2f}{posterior}; seed {example.seed}, epoch {example.epoch}"
    return (
        '<div style="border:1px solid #8888;border-radius:.4rem;padding:.6rem;line-height:1.35">'
        f"<b>{example.verdict}</b><br><small>{told}</small>"
        f'<div style="display:grid;grid-template-columns:1fr 1fr;gap:.6rem">{"".join(sides)}</div></div>'
    )
