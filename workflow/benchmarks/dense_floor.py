"""The floor of a step of a dense rule: the least that a softmax over all candidates costs, as plainly as torch allows.

As :class:`floor.Floor`, but for the loss: both products of anchors and candidates carry a gradient, and in place of a
pick there is one logarithm of a sum of exponentials over the negatives of each anchor, all but its own pair. No rule,
no other mask, no audit, no log. What a step of a dense rule costs in the engine is divided by this. Ratios stand in
``docs/performance.md``; for them to mean the same over time this file does not change.
"""

from __future__ import annotations

import torch
from floor import Floor, Size
from torch.nn.functional import softplus

TEMPERATURE = 0.05


class DenseFloor(Floor):
    """The least step of a dense rule of one size, on random features.

    Args:
        size: Of the step.
        device: Where it runs.
        pool: Pairs of features that batches are drawn from.
    """

    def __init__(self, size: Size, device: torch.device, pool: int = 4096) -> None:
        super().__init__(size, device, pool)
        self.own = torch.eye(size.batch, size.candidates, dtype=torch.bool, device=device)

    def step(self) -> None:
        """One step."""
        rows = self.order[self.at % len(self.order)]
        batch = [features.index_select(0, rows) for features in self.features]
        anchors = self.model(*batch)
        with torch.no_grad():
            past = self.momentum(*batch)
            for block, new in zip(self.candidates, past, strict=True):
                block[: self.size.batch] = new
        loss = torch.zeros((), device=self.device)
        for anchor, others in zip(anchors, reversed(self.candidates), strict=True):
            logits = anchor / TEMPERATURE
            own = (logits * others[: self.size.batch]).sum(dim=-1)
            total = (logits @ others.T).masked_fill(self.own, -torch.inf).logsumexp(dim=-1)
            loss = loss + softplus(total - own).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0, foreach=True)
        self.optimizer.step()
        torch._foreach_lerp_(list(self.momentum.parameters()), list(self.model.parameters()), 0.005)
        if self.size.queue:
            for block, new in zip(self.candidates, past, strict=True):
                slot = self.size.batch + self.next
                block[slot : slot + self.size.batch] = new
            self.next = (self.next + self.size.batch) % self.size.queue
        self.at += 1
