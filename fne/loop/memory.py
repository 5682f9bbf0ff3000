"""What a training loop of your own remembers: a queue of past pairs, and a slowly moving average of its model."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from fne.negatives.memory.kind import Candidates
from fne.negatives.memory.momentum import moving, update_momentum
from fne.negatives.memory.queue import MemoryQueue as Ring
from fne.utils.seeding import torch_stream


class MemoryQueue(nn.Module):
    """The last ``size`` pairs of embeddings, first in, first out, as candidates behind the batch.

    Give it to a :class:`~fne.loop.matching.MatchingLoss`, which fills it and whose ``state_dict`` holds it. It follows
    the embeddings to their device, and stays float32 when a model becomes half precision.

    Args:
        size: Q, pairs that it holds.
        dim: D, width of an embedding.
        initial: What it holds at first: ``"random"`` unit vectors that belong to no image, as FNE was released, or
            nothing (``"empty"``).
        seed: Of the random vectors, those of a run of this package with the same seed.

    Raises:
        ValueError: An argument is none of these.

    >>> MemoryQueue(4096, dim=256).size
    4096
    """

    def __init__(self, size: int, dim: int, *, initial: str = "random", seed: int = 0) -> None:
        super().__init__()
        if size < 1 or dim < 1 or initial not in ("empty", "random"):
            raise ValueError(
                f"MemoryQueue takes size >= 1, dim >= 1 and initial 'random' or 'empty', got {size}, {dim}, {initial!r}"
            )
        self.size, self.dim = size, dim
        self.ring = Ring(1, size, dim, torch.device("cpu"), [torch_stream(seed, "queue")], initial)
        self.guide: tuple[Tensor, Tensor] | None = None

    def behind(self, batch: Candidates) -> Candidates:
        """The candidates of the batch, (1, B, D) a side, followed by all slots: (1, B + Q, D).

        Raises:
            ValueError: They are of another width than the queue.
        """
        if batch.image.shape[-1] != self.dim:
            raise ValueError(f"embeddings are {batch.image.shape[-1]} wide, MemoryQueue was made for dim={self.dim}")
        self._place(batch.image.device)
        # Copied: the batch enters the queue before the caller differentiates the loss.
        return Candidates(*(part.clone() for part in vars(self.ring.behind(batch)).values()))

    def push(self, image: Tensor, text: Tensor, image_id: Tensor, text_id: Tensor, step: int) -> None:
        """Enter a batch of pairs in the place of the oldest: (1, B, D) twice, (1, B) twice."""
        self._place(image.device)
        self.ring.push(image, text, image_id, text_id, step)

    def _place(self, device: torch.device) -> None:
        if self.ring.block.image.device != device:
            with torch.inference_mode(False):
                self.ring.block = Candidates(*(part.to(device) for part in vars(self.ring.block).values()))
            self.guide = self.guide and (self.guide[0].to(device), self.guide[1].to(device))

    def guide_behind(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings (1, B, K) of a guide, followed by those of the pairs in the slots."""
        if self.guide is None:
            self.guide = tuple(side.new_zeros(1, self.size, side.shape[-1]) for side in batch)  # type: ignore[assignment]
        return tuple(torch.cat(both, dim=1) for both in zip(batch, self.guide, strict=True))  # type: ignore[arg-type, return-value]

    def push_guide(self, batch: tuple[Tensor, Tensor]) -> None:
        """Enter the guide's embeddings of the pairs that :meth:`push` enters next."""
        count = min(batch[0].shape[1], self.size)
        slots = (torch.arange(count, device=batch[0].device) + self.ring.next) % self.size
        for kept, side in zip(self.guide, batch, strict=True):  # type: ignore[arg-type]
            kept[:, slots] = side[:, -count:].detach()

    def get_extra_state(self) -> dict[str, Tensor]:
        guide = {} if self.guide is None else {"guide_image": self.guide[0], "guide_text": self.guide[1]}
        return self.ring.state() | guide

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        if state["image"].shape != self.ring.slots.image.shape:
            raise ValueError(
                f"a queue of {tuple(state['image'].shape[1:])} was saved, this one is {(self.size, self.dim)}"
            )
        self.ring.load_state(state)
        if "guide_image" in state:
            place = self.ring.block.image.device
            self.guide = (state["guide_image"].to(place), state["guide_text"].to(place))


class MomentumEncoder(nn.Module):
    """A slowly moving average of a model: ``theta' <- c theta' + (1 - c) theta`` after every step of the optimiser.

    Args:
        model: The model that is trained; it is copied, and the copy takes no gradient.
        momentum: c in [0, 1]; 0.995 as FNE was released.

    Raises:
        ValueError: ``momentum`` is not between 0 and 1.

    *Source*: He et al., Momentum contrast for unsupervised visual representation learning, CVPR 2020.

    >>> online = torch.nn.Linear(2, 2)
    >>> slow = MomentumEncoder(online, momentum=0.9)
    >>> slow.update(online)
    >>> slow(torch.ones(1, 2)).requires_grad
    False
    """

    def __init__(self, model: nn.Module, momentum: float = 0.995) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is between 0 and 1, got {momentum}")
        self.momentum = momentum
        self.model = copy.deepcopy(model).requires_grad_(False)

    def update(self, model: nn.Module) -> None:
        """Move the average towards ``model``; call it after ``optimizer.step()``.

        Raises:
            ValueError: It is another model: parameters differ in number or shape.
        """
        shapes = [[tuple(each.shape) for each in one.parameters()] for one in (self.model, model)]
        if shapes[0] != shapes[1]:
            raise ValueError("not the model that this is the average of: its parameters differ in number or shape")
        update_momentum(moving(self.model), moving(model), self.momentum)

    @torch.no_grad()
    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """The output of the averaged model, without gradient."""
        return self.model(*inputs, **keywords)

    def train(self, mode: bool = True) -> MomentumEncoder:
        """Stays in evaluation mode: no dropout, and statistics of norms are those of the model."""
        return super().train(False)
