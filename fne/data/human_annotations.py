"""Human judgements of image-caption pairs, in the two formats of Flickr8k, as ground truth of a test split.

CrowdFlower: ``image TAB caption TAB share of yes TAB yes TAB no``; relevant where the share exceeds one half.
Expert: ``image TAB caption TAB three scores 1..4``; relevant where the mean is at least 3. A caption is named
``<file name of its image>#k``, k from 0 in caption order.

Source: Hodosh, Young and Hockenmaier (2013), JAIR 47, 853-899.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fne.data.text_files import lines_of, nearest, read_text
from fne.data.truth import Truth, sorted_pairs
from fne.utils.errors import bad_input

SOURCES = ("crowdflower", "expert")
RATED = "sits"
"""Ratings of Crisscrossed Captions, which :mod:`fne.data.cxc_sits` reads."""
CROWD_THRESHOLD, EXPERT_THRESHOLD = 0.5, 3.0
_PAIR = r"([^\t]+)\t([^\t]+)#([0-9]{1,9})\s*\t\s*"
LINES = {
    "crowdflower": re.compile(_PAIR + r"([01]|[01]?\.[0-9]*|[0-9.]+e-[0-9]{1,2})\s*\t\s*[0-9]+\s*\t\s*[0-9]+"),
    "expert": re.compile(_PAIR + r"([1-4])\s*\t\s*([1-4])\s*\t\s*([1-4])"),
}
SHAPES = {"crowdflower": "share of yes TAB yes TAB no", "expert": "three scores from 1 to 4"}
"""Of each source a line of its file, and what follows image and caption there."""


@dataclass(frozen=True)
class Judgement:
    """One judged pair: image, the caption's image and number, agreement in 0..1, verdict, source."""

    image: str
    caption: tuple[str, int]
    share: float
    positive: bool
    source: str


def read_judgements(paths: Mapping[str, str | Path], known: Mapping[str, int]) -> list[Judgement]:
    """Read judgement files; where experts and crowd judged the same pair, the experts' verdict stands.

    Args:
        paths: ``crowdflower`` and/or ``expert`` with the path of the file.
        known: For every image of the corpus (by file name) how many captions it has.

    Returns:
        One judgement per pair.

    Raises:
        UserError: A line is malformed, repeats a pair, or names an image or caption that the corpus does
            not have.
    """
    result: dict[tuple[str, tuple[str, int]], Judgement] = {}
    for source in SOURCES:
        if source in paths:
            result |= {(item.image, item.caption): item for item in _read(Path(paths[source]), source, known)}
    return list(result.values())


def annotated_truth(judgements: Iterable[Judgement], images: list[tuple[str, int]], provable: Truth) -> Truth:
    """Ground truth of a test split from human judgements.

    Relevant are own pairs, pairs judged relevant, and pairs with equal captions unless people judged them
    otherwise. Scored queries are the images and the captions with at least one judged pair; pairs nobody
    judged count as not relevant for them (``judged_pairs`` allows scores on judged pairs only); what that
    does to each score: :data:`fne.data.truth.KINDS`.

    Args:
        judgements: All judgements; those that are not within the split are left out.
        images: File name and number of captions of every image of the split, in order.
        provable: Own pairs and pairs with equal captions.
    """
    position = {name: row for row, (name, _) in enumerate(images)}
    first = np.concatenate([[0], np.cumsum([count for _, count in images])])
    within = [item for item in judgements if item.image in position and item.caption[0] in position]
    pairs = np.array(
        [(position[item.image], first[position[item.caption[0]]] + item.caption[1]) for item in within], np.int32
    ).reshape(-1, 2)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, within = pairs[order], [within[row] for row in order]
    positive = np.array([item.positive for item in within], bool)
    owner = np.repeat(np.arange(len(images)), np.diff(first))
    refused = pairs[~positive & (owner[pairs[:, 1]] != pairs[:, 0])]
    places = np.array([len(owner), 1], np.int64)
    kept = ~np.isin(provable.pairs @ places, refused @ places)
    return Truth(
        "judged",
        sorted_pairs(np.concatenate([provable.pairs[kept], pairs[positive]])),
        np.unique(pairs[:, 0]),
        np.unique(pairs[:, 1]),
        {
            "judged_pairs": pairs,
            "judged_share": np.array([item.share for item in within], np.float32),
            "judged_positive": positive.astype(np.uint8),
            "judged_source": np.array([(*SOURCES, RATED).index(item.source) for item in within], np.uint8),
        },
    )


def _read(path: Path, source: str, known: Mapping[str, int]) -> list[Judgement]:
    key = f"data.judgements.{source}"
    result: dict[tuple[str, tuple[str, int]], Judgement] = {}
    for number, line in enumerate(lines_of(read_text(path, key)), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        match = LINES[source].fullmatch(line.strip())
        if not match:
            allowed = f"image TAB caption#k TAB {SHAPES[source]}"
            raise bad_input("malformed judgement", file=path, key=where, value=line, allowed=allowed)
        image, name, index = match[1].strip(), match[2].strip(), int(match[3])
        for requested in (image, name):
            if requested not in known:
                near = nearest(requested, known)
                hint = f"did you mean {near!r}?" if near else "is this the judgement file of another corpus?"
                raise bad_input("unknown image", file=path, key=where, value=requested, hint=hint)
        if index >= known[name]:
            allowed = f"#0 to #{known[name] - 1}"
            raise bad_input("unknown caption", file=path, key=where, value=index, allowed=allowed)
        if source == "crowdflower":
            share = float(match[4])
            verdict = share, share > CROWD_THRESHOLD
        else:
            mean = sum(map(int, match.groups()[3:])) / 3
            verdict = (mean - 1) / 3, mean >= EXPERT_THRESHOLD
        item = Judgement(image, (name, index), *verdict, source)
        if (item.image, item.caption) in result:
            raise bad_input("a pair judged twice", file=path, key=where, value=line)
        result[item.image, item.caption] = item
    if not result:
        raise bad_input("holds no judgement", file=path, key=key)
    return list(result.values())
