"""Heads that begin as the identity, for features that share a space: an untrained one gives the zero-shot embedding.

They are among :data:`fne.training.heads.HEADS` once this module is imported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fne.training.heads import HEADS, ReplicatedLinear


class KeptHead(nn.Module):
    """``x / |x|``: nothing is learned. Its one number a replicate, which nothing depends on, has no gradient but 0.

    Args:
        inputs: Width of a feature and of the embedding.
        hidden, dim: Not read: a head that keeps the space has its width.
        generators: One per replicate.
    """

    tokens = False

    def __init__(self, inputs: int, hidden: int, dim: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(len(generators), 1, 1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(R, B, inputs) -> (R, B, inputs), L2-normalised."""
        return nn.functional.normalize(x, dim=-1) + 0 * self.unused


class LinearHead(KeptHead):
    """``normalise(u + W u + b)``, u = x / |x|; W and b begin at 0, so that decay pulls towards the zero-shot embedding.

    Args:
        inputs, hidden, dim, generators: As of :class:`KeptHead`.
    """

    def __init__(self, inputs: int, hidden: int, dim: int, generators: list[torch.Generator]) -> None:
        super().__init__(inputs, hidden, dim, generators)
        self.last = _zero(ReplicatedLinear(inputs, inputs, generators))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(R, B, inputs) -> (R, B, inputs), L2-normalised."""
        unit = super().forward(x)
        return nn.functional.normalize(unit + self.last(unit), dim=-1)


class ResidualHead(KeptHead):
    """``normalise(u + W2 gelu(W1 sqrt(D) u + b1) + b2)``, u = x / |x|; W2 and b2 begin at 0.

    Args:
        inputs, dim, generators: As of :class:`KeptHead`.
        hidden: Width of the hidden layer.
    """

    def __init__(self, inputs: int, hidden: int, dim: int, generators: list[torch.Generator]) -> None:
        super().__init__(inputs, hidden, dim, generators)
        self.first = ReplicatedLinear(inputs, hidden, generators)
        self.last = _zero(ReplicatedLinear(hidden, inputs, generators))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(R, B, inputs) -> (R, B, inputs), L2-normalised."""
        unit = super().forward(x)
        change = self.last(nn.functional.gelu(self.first(math.sqrt(x.shape[-1]) * unit)))
        return nn.functional.normalize(unit + change, dim=-1)


def _zero(layer: ReplicatedLinear) -> ReplicatedLinear:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


HEADS.update({"none": KeptHead, "linear": LinearHead, "residual": ResidualHead})


def with_width(config: dict[str, Any], width: int) -> dict[str, Any]:
    """A config with what such a head takes from its features: the width of the embedding."""
    unread = {"hidden": 0, "dropout_image": 0.0, "dropout_text": 0.0}
    return config | {"model": unread | config["model"] | {"dim": width}}
