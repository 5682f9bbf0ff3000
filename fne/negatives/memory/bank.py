"""The kind ``bank``: every pair of the epoch, embedded anew from time to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
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
        self.refresh, self.at = refresh, 0
        self.block: Candidates | None = None
        self.out: list[Tensor] = []

    def prepare(self, plan: PairRows, at: int, step: int) -> None:
        if self.block is None or at == 0 or (self.refresh is not None and at % self.refresh == 0):
            rows = [side.flatten(1).to(torch.int64, copy=True) for side in (plan.image_row, plan.caption_row)]
            entered = torch.full_like(rows[0], step)
            self._hold([*self.learner.embed_pairs(*rows), *rows, entered], at, plan.image_row.shape[-1])
        elif at > self.at:  # the batch before returns to its place, which this one leaves
            here = slice(at * self.count, (at + 1) * self.count)
            for part, out in zip(vars(self.block).values(), self.out, strict=True):
                own = part[:, here].clone()
                part[:, here], out[:] = out, own
            self.at = at

    def _hold(self, parts: Sequence[Tensor], at: int, count: int) -> None:
        """Hold all pairs (R, N, ...): in a block those of batch ``at`` stand in front, and aside."""
        first, last = at * count, (at + 1) * count
        self.at, self.count, self.out = at, count, [part[:, first:last].clone() for part in parts]
        for part, out in zip(parts, self.out, strict=True):
            part[:, count:last] = part[:, :first].clone()
            part[:, :count] = out
        self.block = Candidates(*parts)
        self.block.entered[:, :count] = -1  # type: ignore[index]

    def candidates(self, image: Tensor, text: Tensor, inputs: Any, batch: PairRows, *, main: bool) -> Candidates:
        own = super().candidates(image, text, inputs, batch, main=main)
        return self.block.behind(own) if main and self.block is not None else own

    def state(self) -> dict[str, Tensor]:
        if self.block is None:
            return {}
        last = (self.at + 1) * self.count
        parts = zip(vars(self.block).items(), self.out, strict=True)
        whole = {name: torch.cat([part[:, self.count : last], out, part[:, last:]], 1) for (name, part), out in parts}
        return whole | {"at": torch.tensor([self.at, self.count])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        if state:
            at, count = state["at"].tolist()
            self._hold([state[part.name].clone() for part in fields(Candidates)], at, count)
