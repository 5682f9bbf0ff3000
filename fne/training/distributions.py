"""Where the similarities of positives, hard negatives and known false negatives lie under the selected weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fne.negatives.statistics import PairStatistics
from fne.training.data import Pairs
from fne.training.learner import Learner
from fne.training.step import same_image
from fne.utils.seeding import torch_stream

BINS = 100
BATCHES = 32
KINDS = ("positives", "hard_negatives", "false_negatives", "all_negatives")


@torch.no_grad()
def measure(
    learner: Learner, train: Pairs, seeds: Sequence[int], batch_size: int, prior: float | None, batches: int = BATCHES
) -> list[dict[str, Any]]:
    """Histograms of similarities over random training batches, and the two normals that FNE's released rule would fit.

    Hard negatives are the hardest of each row and column that do not share the image; false negatives are all pairs of
    the batch known to be relevant without sharing the image; all negatives are the rest.

    Args:
        learner: Holds R replicates with their selected weights.
        train: The training split, on the learner's device.
        seeds: R seeds.
        batch_size: B.
        prior: The prior that the variant's strategy uses, recorded beside the fit; None where it has none.
        batches: How many.

    Returns:
        One dict per seed, as ``distributions.json`` holds them.
    """
    images, captions = [], []
    for seed in seeds:
        generator = torch_stream(seed, "distributions")
        caption = torch.randint(len(train.caption_image), (batches, batch_size), generator=generator)
        captions.append(caption)
        images.append(train.caption_image.cpu()[caption])
    image_rows, caption_rows = (torch.stack(rows).to(train.caption_image.device) for rows in (images, captions))
    counts = {kind: torch.zeros(len(seeds), BINS, dtype=torch.int64, device=image_rows.device) for kind in KINDS}
    statistics = PairStatistics()
    for batch in range(batches):
        image_row, caption_row = image_rows[:, batch], caption_rows[:, batch]
        image, text = learner.embed_rows(image_row, caption_row)
        similarities = image @ text.transpose(-1, -2)
        same = same_image(image_row, image_row)
        statistics.update(similarities, None)
        negative = similarities.masked_fill(same, -torch.inf)
        known = train.false_negative(image_row.unsqueeze(-1).expand_as(same), caption_row.unsqueeze(-2).expand_as(same))
        _count(counts["positives"], similarities.diagonal(dim1=-2, dim2=-1))
        _count(counts["hard_negatives"], torch.cat([negative.amax(dim=-1), negative.amax(dim=-2)], dim=-1))
        _count(counts["false_negatives"], similarities, known & ~same)
        _count(counts["all_negatives"], similarities, ~known & ~same)
    summary = {key: value.tolist() for key, value in (statistics.summary() or {}).items()}
    edges = torch.linspace(-1, 1, BINS + 1, dtype=torch.float64).round(decimals=4).tolist()
    return [
        {
            "seed": seed,
            "bins": edges,
            **{kind: counts[kind][r].tolist() for kind in KINDS},
            "fit": {key: values[r] for key, values in summary.items()},
            "prior": prior,
        }
        for r, seed in enumerate(seeds)
    ]


def _count(table: torch.Tensor, values: torch.Tensor, counted: torch.Tensor | None = None) -> None:
    """Add values (R, ...) to a table (R, BINS) over [-1, 1]; infinities (rows without a negative) are left out."""
    counted = values.isfinite() if counted is None else counted & values.isfinite()
    bins = ((values.nan_to_num(0) + 1) / 2 * BINS).floor().clamp(0, BINS - 1).long()
    table.scatter_add_(1, bins.flatten(1), counted.flatten(1).long())
