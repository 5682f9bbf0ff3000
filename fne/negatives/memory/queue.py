"""The memory queue: embeddings of past batches, first in, first out, per replicate."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.memory.kind import EMPTY, RANDOM, Candidates


class MemoryQueue:
    """A ring of the last ``size`` pairs, both modalities side by side. Batches of any size enter, also larger ones.

    Its slots lie behind places for a batch, in one block: the candidates of a step are that block.

    Args:
        replicates: R, the leading axis.
        size: Q, slots per replicate; 0 is a queue that never holds anything.
        dim: D, width of an embedding.
        device: Where the queue lives.
        generators: One CPU generator per replicate, for ``initial="random"``.
        initial: ``"empty"``, or ``"random"``: unit vectors that belong to no image (as released).

    Attributes:
        slots: Image and text (R, Q, D) float32, L2-normalised embeddings without gradient; image_row, caption_row
            (R, Q) int64, positions in the training split, ``EMPTY`` or ``RANDOM`` before use; entered (R, Q) int64,
            the step at which the slot was filled, -1 before, so that a random vector has no age.
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
            image, text = torch.nn.functional.normalize(torch.stack(draws, dim=1), dim=-1).to(device)
        else:
            image, text = torch.zeros(2, *shape, device=device)
        marker = RANDOM if initial == "random" else EMPTY
        image_row, caption_row, entered = (
            torch.full(shape[:2], value, dtype=torch.int64, device=device) for value in (marker, marker, -1)
        )
        self.size, self.next, self.front = size, 0, 0
        self.block = Candidates(image, text, image_row, caption_row, entered)

    @property
    def slots(self) -> Candidates:
        """The block without the places of the batch; views."""
        return Candidates(*(part[:, self.front :] for part in vars(self.block).values()))

    @torch.no_grad()
    def push(self, image: Tensor, text: Tensor, image_row: Tensor, caption_row: Tensor, step: int) -> None:
        """Enter a batch of pairs, overwriting the oldest slots.

        Args:
            image, text: (R, B, D).
            image_row, caption_row: (R, B) int64.
            step: The current step, remembered as the age of the slots.
        """
        if self.size == 0:
            return
        begin, end, block = max(0, image.shape[1] - self.size), image.shape[1], self.block
        slots = block.image, block.text, block.image_row, block.caption_row
        while begin < end:  # in two pieces where the end of the ring comes between
            piece = min(end - begin, self.size - self.next)
            place = slice(self.front + self.next, self.front + self.next + piece)
            for slot, value in zip(slots, (image, text, image_row, caption_row), strict=True):
                slot[:, place] = value[:, begin : begin + piece]
            block.entered[:, place] = step  # type: ignore[index]
            self.next, begin = (self.next + piece) % self.size, begin + piece

    def behind(self, batch: Candidates) -> Candidates:
        """The batch, followed by all slots; valid until the next batch."""
        if self.size == 0:
            return batch
        if (front := batch.image.shape[1]) != self.front:
            with torch.inference_mode(False):  # or training could not write into it later
                parts = [part.new_full((len(part), front, *part.shape[2:]), -1) for part in vars(self.block).values()]
                behind = vars(self.slots).values()
                self.block = Candidates(*(torch.cat(both, dim=1) for both in zip(parts, behind, strict=True)))
            self.front = front
        return self.block.behind(batch)

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume; copies."""
        state = {name: part.clone(memory_format=torch.contiguous_format) for name, part in vars(self.slots).items()}
        return state | {"next": torch.tensor(self.next)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        for name, part in vars(self.slots).items():
            part.copy_(state[name])
        self.next = int(state["next"])
