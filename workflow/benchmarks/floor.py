"""The floor of a training step: what no rule for negatives can do without, written as plainly as torch allows.

Heads with gradient, heads of the momentum encoder, the two products of anchors and candidates, one pick per anchor, the
hinge, the backward pass, the clipped and fused optimiser step, the momentum update, and the batch written into the
queue. No rule, no mask, no audit, no log. What a step of the engine costs is divided by this. Ratios stand in
``docs/performance.md``; for them to mean the same over time this file does not change.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize


@dataclass(frozen=True)
class Size:
    """A step: ``batch`` pairs, ``queue`` pairs behind them, heads from ``inputs`` over ``hidden`` to ``dim``."""

    batch: int
    queue: int
    dim: int
    inputs: int = 128
    hidden: int = 512

    @property
    def candidates(self) -> int:
        return self.batch + self.queue

    @property
    def product(self) -> float:
        """FLOPs of the two products."""
        return 4.0 * self.batch * self.candidates * self.dim

    @property
    def heads(self) -> float:
        """FLOPs of both heads: forward, backward (twice that) and the momentum encoder's forward."""
        return 16.0 * self.batch * self.hidden * (self.inputs + self.dim)


SIZES = {
    "paper": Size(batch=128, queue=256, dim=256),
    "queue": Size(batch=128, queue=8192, dim=256),
    "wide": Size(batch=32, queue=8224, dim=768),
    "long": Size(batch=64, queue=65_536, dim=256),
}


class Heads(nn.Module):
    """Two heads of one hidden layer each."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.sides = nn.ModuleList(
            nn.ModuleList([nn.Linear(size.inputs, size.hidden), nn.Linear(size.hidden, size.dim)]) for _ in range(2)
        )

    def forward(self, image: Tensor, text: Tensor) -> list[Tensor]:
        """(B, inputs) each -> (B, dim) each, L2-normalised."""
        return [
            normalize(second(gelu(first(x))), dim=-1)
            for (first, second), x in zip(self.sides, (image, text), strict=True)  # type: ignore[misc]  # pairs
        ]


class Floor:
    """The least step of one size, on random features.

    Args:
        size: Of the step.
        device: Where it runs.
        pool: Pairs of features that batches are drawn from.
    """

    def __init__(self, size: Size, device: torch.device, pool: int = 4096) -> None:
        generator = torch.Generator().manual_seed(0)
        self.size, self.device = size, device
        self.features = [torch.randn(pool, size.inputs, generator=generator).to(device) for _ in range(2)]
        self.order = torch.randint(pool, (512, size.batch), generator=generator).to(device)
        self.model = Heads(size).to(device)
        self.momentum = copy.deepcopy(self.model).requires_grad_(False)
        # The candidates of a step lie in one block: the batch first, then the queue.
        blocks = torch.randn(2, size.candidates, size.dim, generator=generator)
        self.candidates = list(normalize(blocks, dim=-1).to(device).unbind(0))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        self.at = self.next = 0

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
            own = others[: self.size.batch]
            with torch.no_grad():
                picked = others.index_select(0, (anchor @ others.T).argmax(dim=-1))
            loss = loss + (0.2 + (anchor * (picked - own)).sum(dim=-1)).clamp(min=0).mean()
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
