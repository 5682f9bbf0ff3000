"""The kind ``xbm``: a queue of the online encoder's own embeddings (cross-batch memory)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fne.negatives.memory.kind import Candidates, Embedder, Memory, PairRows
from fne.negatives.memory.queue import MemoryQueue
from fne.utils.seeding import torch_stream


class CrossBatchMemory(Memory):
    """The batch, with gradient, and the last ``size`` pairs as the online encoder embedded them in their own step.

    In the paper a batch enters the memory before its loss (pytorch-metric-learning once did it after, its issue 24, so
    that a batch never met itself). Here the batch stands first among the candidates and enters the queue after its
    step: the candidates are those of a memory of ``size`` + B slots that the batch entered first, each once.

    Args:
        learner, seeds, device: See :class:`Memory`.
        size: Q, slots of the queue.
        initial: ``empty``, or ``random`` unit vectors.
        fill: ``after_warmup``, or ``always``: the queue is filled in the warm-up too.

    *Differs from* the paper: one loss over the batch and the memory together, where the paper adds a loss over the
    memory to one over the batch; and the batch's candidates carry a gradient.

    *Source*: Wang et al., Cross-batch memory for embedding learning, CVPR 2020, arXiv 1912.06798.
    """

    def __init__(
        self, learner: Embedder, seeds: Sequence[int], device: torch.device, *, size: int, initial: str, fill: str
    ) -> None:
        super().__init__(learner, seeds, device)
        self.always = fill == "always"
        generators = [torch_stream(seed, "queue") for seed in seeds]
        self.queue = MemoryQueue(len(seeds), size, learner.dim, device, generators, initial)
        self.entering: tuple[Tensor, Tensor] | None = None

    def candidates(self, image: Tensor, text: Tensor, inputs: Any, batch: PairRows, *, main: bool) -> Candidates:
        self.entering = (image.detach(), text.detach()) if main or self.always else None
        own = super().candidates(image, text, inputs, batch, main=main)
        return self.queue.behind(own) if main else own

    def after_step(self, batch: PairRows, step: int) -> None:
        if self.entering is not None:
            self.queue.push(*self.entering, batch.image_row, batch.caption_row, step)

    def state(self) -> dict[str, Tensor]:
        return self.queue.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.queue.load_state(state)
