"""The processes that train one model together: who this one is, and how embeddings and gradients are put together.

Started by ``torchrun``; a process alone is a world of one. Every rank draws the same plan, embeds its own slice of the
global batch, sees all embeddings of all ranks, and computes the same loss on them. Each backpropagates into its own
slice only, and the gradients of the parameters are summed: the result is that of one process with the global batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from fne.utils.errors import bad_input


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Args:
        rank: 0 .. size - 1.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> World:
        """The world that ``torch.distributed`` was initialised with, or a world of one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def share(self, total: int) -> slice:
        """The slice of a batch of ``total`` pairs that this rank embeds.

        Raises:
            UserError: The batch cannot be cut into equal parts.
        """
        if total % self.size:
            raise bad_input(
                f"cannot be shared equally by {self.size} processes",
                key="train.batch_size",
                value=total,
                allowed=f"a multiple of {self.size}",
            )
        part = total // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, mine: Tensor) -> Tensor:
        """(B, ...) of all ranks, in order, from the equal parts (B/size, ...) of each; carries no gradient."""
        if self.size == 1:
            return mine.detach()
        whole = mine.new_empty(self.size * mine.shape[0], *mine.shape[1:])
        dist.all_gather(list(whole.split(mine.shape[0])), mine.detach().contiguous())
        return whole

    def gather_rows(self, mine: Tensor, total: int) -> Tensor:
        """(total, ...) from the rows rank, rank + size, ... that each rank holds."""
        if self.size == 1:
            return mine
        whole = mine.new_zeros(total, *mine.shape[1:])
        whole[self.rank :: self.size] = mine
        dist.all_reduce(whole)
        return whole

    def largest(self, mine: int) -> int:
        """The largest number of all ranks; it travels between hosts, so that none waits for its device."""
        if self.size == 1:
            return mine
        whole = torch.tensor(mine)
        dist.all_reduce(whole, dist.ReduceOp.MAX)
        return int(whole)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all ranks, in place, in one message for each type of number."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_type.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the world that ``torchrun`` describes in the environment, for the life of a job.

    Args:
        device: ``cuda`` (each process holds a lease on a device of its own) or ``cpu``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield World.here()
    finally:
        dist.destroy_process_group()
