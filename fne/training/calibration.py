"""Validation pairs whose truth is known, for strategies that calibrate themselves at the start of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fne.negatives.strategy import Strategy
from fne.training.data import Pairs
from fne.training.learner import Learner
from fne.utils.errors import bad_input
from fne.utils.seeding import torch_stream


def check_known(strategy: Strategy, config: dict[str, Any], val: Pairs) -> None:
    """Check that a strategy which wants to be calibrated can be.

    Raises:
        UserError: The relevant pairs of the validation split are not all known.
    """
    if strategy.calibration_images and val.truth is None:
        name = config["negatives"]["strategy"]
        problem = "wants to be calibrated on validation pairs, and of this data set their truth is not known exactly"
        raise bad_input(problem, key="negatives.strategy", value=name, hint="of fne: negatives.recalibration: none")


@torch.no_grad()
def known_pairs(learner: Learner, val: Pairs, seeds: Sequence[int], epoch: int, images: int) -> tuple[Tensor, Tensor]:
    """Similarities of random validation images, one random caption each, and which of the pairs are relevant.

    Args:
        learner: Embeds them as it is now.
        val: The validation split, its truth known.
        seeds: R seeds; each draws its own pairs, others in each epoch.
        epoch: Its number.
        images: n, or all of the split where it has fewer.

    Returns:
        (R, n, n) cosine of images (rows) and captions, the own pairs on the diagonal, and (R, n, n) bool.
    """
    first, count = val.first_caption.cpu(), val.caption_count.cpu()
    rows, captions = [], []
    for seed in seeds:
        stream = torch_stream(seed, "calibration", epoch)
        chosen = torch.randperm(len(count), generator=stream)[:images]
        chance = torch.rand(len(chosen), generator=stream, dtype=torch.float64)
        rows.append(chosen)
        captions.append(first[chosen] + (chance * count[chosen]).long())
    image_row, caption_row = (torch.stack(one).to(val.first_caption.device) for one in (rows, captions))
    image, text = (
        side.gather(1, at.unsqueeze(-1).expand(-1, -1, side.shape[-1]))
        for side, at in zip(learner.embed_split(val), (image_row, caption_row), strict=True)
    )
    similarities = image @ text.transpose(-1, -2)
    pairs = image_row.unsqueeze(-1).expand_as(similarities), caption_row.unsqueeze(-2).expand_as(similarities)
    return similarities, val.false_negative(*pairs)
