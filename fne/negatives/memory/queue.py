"""The memory queue: embeddings of past batches, first in, first out, per replicate."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.memory.kind import EMPTY, RANDOM, Candidates


class MemoryQueue:
    """A ring of the last ``size`` pairs, both modalities side by side. Batches of any size enter, also larger ones.

    Args:
        replicates: R, the leading axis.
        size: Q, slots per replicate; 0 is a queue that never holds anything.
        dim: D, width of an embedding.
        device: Where the queue lives.
        generators: One CPU generator per replicate, for ``initial="random"``.
        initial: ``"empty"``, or ``"random"``: unit vectors that belong to no image (as released).

    Attributes:
        image, text: (R, Q, D) float32, L2-normalised embeddings; no gradient.
        image_row, caption_row: (R, Q) int64, positions in the training split; ``EMPTY`` or ``RANDOM`` before use.
        entered: (R, Q) int64, the step at which the slot was filled; -1 before, so that a random vector has no age.
    """

    def __init__(
        self,
        replicates: int,
        size: int,
        dim: int,
        device: torch.device,
        generators: list[torch.Generator],
        initial: str,
    ) -> None:
        shape = (replicates, size, dim)
        if initial == "random":
            draws = [torch.randn(2, size, dim, generator=generator) for generator in generators]
            both = torch.nn.functional.normalize(torch.stack(draws, dim=1), dim=-1).to(device)
            self.image, self.text = both[0].contiguous(), both[1].contiguous()
        else:
            self.image, self.text = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
        marker = RANDOM if initial == "random" else EMPTY
        self.image_row = torch.full(shape[:2], marker, dtype=torch.int64, device=device)
        self.caption_row = torch.full(shape[:2], marker, dtype=torch.int64, device=device)
        self.entered = torch.full(shape[:2], -1, dtype=torch.int64, device=device)
        self.size, self.next = size, 0

    def push(self, image: Tensor, text: Tensor, image_row: Tensor, caption_row: Tensor, step: int) -> None:
        """Enter a batch of pairs, overwriting the oldest slots.

        Args:
            image, text: (R, B, D).
            image_row, caption_row: (R, B) int64.
            step: The current step, remembered as the age of the slots.
        """
        if self.size == 0:
            return
        count = min(image.shape[1], self.size)
        slots = (torch.arange(count, device=self.image.device) + self.next) % self.size
        for slot, value in (
            (self.image, image),
            (self.text, text),
            (self.image_row, image_row),
            (self.caption_row, caption_row),
        ):
            slot[:, slots] = value[:, -count:].detach()
        self.entered[:, slots] = step
        self.next = (self.next + count) % self.size

    def behind(self, batch: Candidates) -> Candidates:
        """The batch, followed by all slots."""
        if self.size == 0:
            return batch
        return batch.followed_by((self.image, self.text, self.image_row, self.caption_row, self.entered))

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume."""
        return {
            "image": self.image,
            "text": self.text,
            "image_row": self.image_row,
            "caption_row": self.caption_row,
            "entered": self.entered,
            "next": torch.tensor(self.next),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        for name in ("image", "text", "image_row", "caption_row", "entered"):
            getattr(self, name).copy_(state[name])
        self.next = int(state["next"])
