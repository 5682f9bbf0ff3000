"""What the pretraining of both tiny encoders shares: schedule, batches, and how well facts are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.encoders.shipped import Recipe
from fne.scenes.world import Scenes, sample_reserved
from fne.utils.progress import Progress
from fne.utils.seeding import numpy_stream

if TYPE_CHECKING:
    from torch import Tensor, nn

HELD_OUT = 0.05
"""Share of the pretraining scenes that only measure."""
WIDTH, HEADS, FEED_FORWARD, BATCH = 128, 4, 256, 32
"""Of both encoders. Small batches: at this size the number of steps decides, not the number of examples in each."""
TINY: dict[str, Any] = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip
"""Settings of both."""
FACT_SCALE = 3.0
"""Factor on the pooled vector before facts are read from it: a mean over tokens is smaller than a token."""


def pretrain_scenes(recipe: Recipe) -> Scenes:
    """The scenes a pair is pretrained on, uniform over those set aside for it: no split of any world has one."""
    return sample_reserved(recipe.scenes, numpy_stream(recipe.draw, "scenes", "pretrain"))


def split_point(n: int) -> int:
    """How many of ``n`` scenes are for learning; the rest, at least one, is held out."""
    return n - max(1, round(HELD_OUT * n))


def shuffled_batches(n: int, size: int, epochs: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of rows over ``epochs`` shuffles of ``n`` rows; what an epoch has left over whole batches is dropped."""
    batches = []
    for _ in range(epochs):
        rows = rng.permutation(n)
        batches += [rows[start : start + size] for start in range(0, max(1, n - size + 1), size)]
    return batches


def optimise(
    loss_of: Callable[[np.ndarray], Tensor],
    parts: Sequence[nn.Module],
    batches: Sequence[np.ndarray],
    rate: float,
    label: str,
) -> None:
    """AdamW over the batches: linear warm-up over a twentieth of them, then a cosine down to zero.

    Args:
        loss_of: From the rows of a batch to the loss.
        parts: Modules to be trained.
        batches: Rows of every step.
        rate: Highest learning rate.
        label: What to call it on the progress line.
    """
    import torch

    parameters = [parameter for part in parts for parameter in part.parameters()]
    # a short memory of second moments: the whole run is about a thousand steps
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.97), fused=True)
    steps = len(batches)
    ramp = max(1, steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / ramp, 0.5 * (1 + math.cos(math.pi * step / steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    with Progress(label, steps, "steps") as progress:
        for rows in batches:
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.add()


def fact_loss(logits: Tensor, facts: Tensor) -> Tensor:
    """Binary cross-entropy summed over the facts, mean over the items: (B, F) and bool (B, F) to a scalar."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits, facts.float(), reduction="none").sum(1).mean()


def fact_scores(logits: Tensor, facts: Tensor) -> dict[str, float]:
    """Precision and recall of the facts told (logit above zero)."""
    told = logits > 0
    hits = float((told & facts).sum())
    return {"fact_precision": hits / max(1.0, float(told.sum())), "fact_recall": hits / max(1.0, float(facts.sum()))}
