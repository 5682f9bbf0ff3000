"""The kind ``momentum``: a queue of embeddings of a slowly moving average of the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fne.negatives.memory.kind import Candidates, Embedder, Memory, PairRows
from fne.negatives.memory.queue import MemoryQueue
from fne.utils.seeding import torch_stream


class MomentumMemory(Memory):
    """The batch and the last ``size`` pairs, all under the momentum encoder; gradients reach the anchors only.

    ``theta' <- c theta' + (1 - c) theta`` after every step; then the batch's embeddings under theta' enter the queue.
    The candidates are computed with theta' of before the step.

    Args:
        learner, seeds, device: See :class:`Memory`.
        size: Q, slots of the queue.
        momentum: c.
        initial: ``empty``, or ``random`` unit vectors.
        fill: ``after_warmup``, or ``always``: the queue is filled in the warm-up too.

    *Source*: He et al., Momentum contrast (MoCo), CVPR 2020; FNE as released.
    """

    def __init__(
        self,
        learner: Embedder,
        seeds: Sequence[int],
        device: torch.device,
        *,
        size: int,
        momentum: float,
        initial: str,
        fill: str,
    ) -> None:
        super().__init__(learner, seeds, device)
        self.coefficient, self.always = momentum, fill == "always"
        self.encoder = learner.momentum_copy()
        self.moving = moving(self.encoder), moving(learner.model)
        generators = [torch_stream(seed, "queue") for seed in seeds]
        self.queue = MemoryQueue(len(seeds), size, learner.dim, device, generators, initial)

    def candidates(self, image: Tensor, text: Tensor, inputs: Any, batch: PairRows, *, main: bool) -> Candidates:
        self.past = self.learner.embed_past(self.encoder, inputs) if main or self.always else None
        if not main:
            return super().candidates(image, text, inputs, batch, main=main)
        return self.queue.behind(Candidates(*self.past, batch.image_row, batch.caption_row))  # type: ignore[call-arg, misc]

    def after_step(self, batch: PairRows, step: int) -> None:
        update_momentum(*self.moving, self.coefficient)
        if self.past is not None:
            self.queue.push(*self.past, batch.image_row, batch.caption_row, step)

    def state(self) -> dict[str, Tensor]:
        parts = {"encoder": self.encoder.state_dict(), "queue": self.queue.state()}
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "queue": {}}
        for key, value in state.items():
            part, name = key.split("/", 1)
            parts[part][name] = value
        self.encoder.load_state_dict(parts["encoder"], strict=True)
        self.queue.load_state(parts["queue"])


def moving(model: torch.nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """What an average of a model is made of: its parameters, and its buffers (statistics of norms)."""
    return list(model.parameters()), list(model.buffers())


@torch.no_grad()
def update_momentum(
    momentum: tuple[list[Tensor], list[Tensor]], online: tuple[list[Tensor], list[Tensor]], coefficient: float
) -> None:
    """``theta' <- c theta' + (1 - c) theta`` over all parameters at once; buffers are copied.

    Args:
        momentum: theta', changed in place; what :func:`moving` gives.
        online: theta.
        coefficient: c in [0, 1]; 0.995 as FNE was released.
    """
    torch._foreach_lerp_(momentum[0], online[0], 1 - coefficient)
    if momentum[1]:
        torch._foreach_copy_(momentum[1], online[1])
