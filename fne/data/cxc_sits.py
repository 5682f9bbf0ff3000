"""Ratings of Crisscrossed Captions (SITS) as judged pairs of COCO's validation and test split (torch-free).

A file has one row per rated pair, ``caption,image,agg_score,sampling_method``: ``COCO_val2014:sentid:<id>``, the
image's file name, a score of 0 to 5 (mean over raters), and how the pair was chosen. A pair is a match from
``audit.sits_match`` on. Pairs of different examples were chosen because they looked alike, so shares of them are no
prevalences.

Source: Parekh et al., EACL 2021; github.com/google-research-datasets/Crisscrossed-Captions, folder ``data``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fne.data.coco_relevance import coco_ids
from fne.data.human_annotations import RATED, Judgement, annotated_truth
from fne.data.manifest import SplitView
from fne.data.text_files import ID_DIGITS, read_rows, read_text
from fne.data.truth import Truth
from fne.utils.errors import bad_input

FILES = {"val": "sits_val.csv", "test": "sits_test.csv"}
COLUMNS = ("caption", "image", "agg_score", "sampling_method")
HIGHEST = 5.0
SOURCE = "both files come from github.com/google-research-datasets/Crisscrossed-Captions, its folder data"
_ID = rf"(\d{{1,{ID_DIGITS}}})"
_ROW = re.compile(rf"COCO_\w+:sentid:{_ID},COCO_\w+_{_ID}\.jpg,(\d+(?:\.\d*)?(?:e-\d+)?),[^,]*", re.ASCII)


def files(folder: str | Path) -> dict[str, Path]:
    """The file of each split."""
    return {split: Path(folder) / name for split, name in FILES.items()}


def known(config: Mapping[str, Any], view: SplitView, truth: Truth) -> Truth:
    """What is known of a split: the ratings that a config names, else its own truth.

    Args:
        config: A run's; ``audit.sits`` names the folder, ``audit.sits_match`` the score of a match.
        view: The validation or test split.
        truth: Its own pairs and those with equal captions; the latter give way to a rating that says otherwise.

    Raises:
        UserError: The split's file is missing or malformed, or is about other images or captions than the split's.
    """
    folder, match = config["audit"]["sits"], config["audit"]["sits_match"]
    if folder is None:
        return truth
    file, owner = files(folder)[view.name], view.caption_image
    images, captions = coco_ids(view)
    rated = _parse(file)
    for what, column, places in (("images", 0, images), ("captions", 1, captions)):
        requested = {pair[column] for pair in rated}
        unknown = sorted(item for item in requested if item not in places)
        if unknown:
            problem = f"{len(unknown):,} of its {len(requested):,} {what} are not in the {view.name} split"
            hint = f"each file is about one of Karpathy's splits of COCO: is it in its place? {SOURCE}"
            raise bad_input(problem, file=file, key="COCO id", value=unknown[0], hint=hint)
    first = np.searchsorted(owner, np.arange(len(view.image_ids)))
    judgements = []
    for (image, caption), score in rated.items():
        place = captions[caption]
        named = view.image_ids[owner[place]], int(place - first[owner[place]])
        judgements.append(Judgement(view.image_ids[images[image]], named, score / HIGHEST, score >= match, RATED))
    if all(item.image == item.caption[0] for item in judgements):
        raise bad_input("rates no image with another image's caption", file=file, hint=SOURCE)
    counts = np.bincount(owner, minlength=len(view.image_ids)).tolist()
    return annotated_truth(judgements, list(zip(view.image_ids, counts, strict=True)), truth)


def _parse(file: Path) -> dict[tuple[int, int], float]:
    """The score of every rated pair, by COCO's ids of image and caption."""
    rows = read_rows(read_text(file, "audit.sits", SOURCE), ",", file)
    if not rows or tuple(rows[0][1]) != COLUMNS:
        value = ",".join(rows[0][1]) if rows else ""
        raise bad_input("not a SITS file", file=file, key="line 1", value=value, allowed=",".join(COLUMNS), hint=SOURCE)
    scores: dict[tuple[int, int], float] = {}
    for line, row in rows[1:]:
        match = _ROW.fullmatch(",".join(row))
        if match is None or float(match[3]) > HIGHEST:
            shape = f"COCO_val2014:sentid:<id>,COCO_val2014_<id>.jpg,0 to {HIGHEST:g},method"
            raise bad_input("malformed rating", file=file, key=f"line {line}", value=",".join(row), allowed=shape)
        pair = int(match[2]), int(match[1])
        if pair in scores:
            raise bad_input("a pair rated twice", file=file, key=f"line {line}", value=",".join(row))
        scores[pair] = float(match[3])
    return scores
