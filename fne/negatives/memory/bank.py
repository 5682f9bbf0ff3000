"""The kind ``bank``: every pair of the epoch, embedded anew from time to time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fne.negatives.memory.kind import Candidates, Embedder, Memory, PairRows


class MemoryBank(Memory):
    """The batch, with gradient, and all other pairs of the epoch's plan, so that C is the number of its pairs.

    The plan's pairs (each image with the caption drawn for it, or every caption, as ``train.epoch_unit`` says; the
    last, incomplete batch is dropped from plan and bank alike) are embedded by the online encoder in evaluation mode,
    without gradient, at the start of every main epoch and then every ``refresh`` steps of it. A pair of the batch
    stands once among the candidates, as the online encoder just embedded it; its entry of the bank is left out.

    Args:
        learner, seeds, device: See :class:`Memory`.
        refresh: Steps between embeddings; None: once an epoch.

    *Differs from* the memory bank of instance discrimination: there a slot starts as a random unit vector, changes
    only when its own item is in a batch (so slots are up to an epoch old, each of another age), and a few slots are
    sampled for noise-contrastive estimation; here all are embedded at once, have one age, and are all candidates.

    *Source*: the idea of a candidate for every training item: Wu et al., Unsupervised feature learning via
    non-parametric instance discrimination, CVPR 2018, arXiv 1805.01978.
    """

    def __init__(self, learner: Embedder, seeds: Sequence[int], device: torch.device, *, refresh: int | None) -> None:
        super().__init__(learner, seeds, device)
        self.refresh = refresh
        self.held: dict[str, Tensor] = {}

    def prepare(self, plan: PairRows, at: int, step: int) -> None:
        self.rows = plan.image_row.flatten(1), plan.caption_row.flatten(1)
        self.first = at * plan.image_row.shape[-1]
        if not self.held or at == 0 or (self.refresh is not None and at % self.refresh == 0):
            image, text = self.learner.embed_pairs(*self.rows)
            entered = torch.tensor(step, device=image.device).expand(self.rows[0].shape)
            self.held = {"image": image, "text": text, "entered": entered}

    def candidates(self, image: Tensor, text: Tensor, inputs: Any, batch: PairRows, *, main: bool) -> Candidates:
        own = super().candidates(image, text, inputs, batch, main=main)
        if not main:
            return own
        last = self.first + image.shape[1]
        parts = self.held["image"], self.held["text"], *self.rows, self.held["entered"]
        return own.followed_by([part[:, : self.first] for part in parts], [part[:, last:] for part in parts])

    def state(self) -> dict[str, Tensor]:
        return self.held

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.held = dict(state)
