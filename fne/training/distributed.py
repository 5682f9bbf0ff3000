"""The processes that train one model together: who this one is, and how embeddings and gradients are put together.

Started by :mod:`fne.utils.ranks` or ``torchrun``; a process alone is a world of one. Every rank draws the same plan,
embeds its own slice of the global batch, sees all embeddings of all ranks, selects for the anchors of its slice, and
computes their loss. The gradients of the embeddings are summed, each rank backpropagates into its own slice, and the
gradients of the parameters are summed: the result is that of one process with the global batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fne.utils.errors import UserError, bad_input
from fne.utils.lease import LEASED
from fne.utils.ranks import LOST, check_share

PATIENCE = timedelta(minutes=10)
"""How long processes wait for each other, at the start and in every message."""


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
        check_share(total, self.size)
        part = total // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, mine: Tensor) -> Tensor:
        """(B, ...) of all ranks, in order, from the equal parts (B/size, ...) of each; carries no gradient."""
        if self.size == 1:
            return mine.detach()
        whole = mine.new_empty(self.size * mine.shape[0], *mine.shape[1:])
        self._together(dist.all_gather, list(whole.split(mine.shape[0])), mine.detach().contiguous())
        return whole

    def gather_rows(self, mine: Tensor, total: int) -> Tensor:
        """(total, ...) from the rows rank, rank + size, ... that each rank holds."""
        if self.size == 1:
            return mine
        whole = mine.new_zeros(total, *mine.shape[1:])
        whole[self.rank :: self.size] = mine
        self._together(dist.all_reduce, whole)
        return whole

    def gather_anchors(self, mine: Iterable[Tensor | None]) -> list[Any]:
        """(R, B) of all ranks, in order, from the equal parts (R, B/size) of each, in one message; None stays None.

        Whatever their type, they travel as float64, which holds positions and steps exactly.
        """
        parts = list(mine)
        if self.size == 1:
            return parts
        packed = torch.stack([part.detach().double() for part in parts if part is not None], dim=-1)
        whole = iter(self.gather(packed.transpose(0, 1)).transpose(0, 1).unbind(dim=-1))
        return [None if part is None else next(whole).to(part.dtype) for part in parts]

    def largest(self, mine: int) -> int:
        """The largest number of all ranks; it travels between hosts, so that none waits for its device."""
        if self.size == 1:
            return mine
        whole = torch.tensor(mine)
        self._together(dist.all_reduce, whole, dist.ReduceOp.MAX)
        return int(whole)

    def sum(self, tensors: Iterable[Tensor | None]) -> None:
        """Add up tensors over all ranks, in place, in one message for each type of number; None is passed over."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            if tensor is not None:
                by_type.setdefault(tensor.dtype, []).append(tensor)
        for those in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in those])
            self._together(dist.all_reduce, flat)
            parts = flat.split([tensor.numel() for tensor in those])
            torch._foreach_copy_(those, [p.view_as(t) for p, t in zip(parts, those, strict=True)])

    def _together(self, collective: Callable[..., object], *arguments: object) -> None:
        try:
            collective(*arguments)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise LostRanks(f"rank {self.rank} of {self.size} lost the others ({_line(error)})") from None


class LostRanks(UserError):
    """Another process of the world ended, or the network between them failed."""


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the world that ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT`` describe, for the life of a job.

    Args:
        device: ``cuda`` (each process holds a device of its own) or ``cpu``.

    Raises:
        UserError: The processes did not meet in time, or one of them is lost.
        SystemExit: One of them is lost, and who started this one says so.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    try:
        # Numbers on the host, such as requests of signals, travel by gloo, so that they wait for no device.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        problem = f"rank {os.environ.get('RANK')} did not meet the others at {place} ({_line(error)})"
        hint = "start the same command on every node, where they reach the first one under this name and port"
        raise bad_input(problem, key="MASTER_ADDR", hint=hint) from None
    try:
        yield World.here()
    except LostRanks:
        if LEASED in os.environ:
            raise SystemExit(LOST) from None
        raise
    finally:
        leave()


def leave() -> None:
    """End the world, where there is one, when training is over: a process works alone from then on."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
