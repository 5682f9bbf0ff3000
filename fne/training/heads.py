"""Projection heads on frozen features, with a leading replicate axis: R independent heads in one batched product."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ReplicatedLinear(nn.Module):
    """``y_r = x_r W_r + b_r`` for each replicate r.

    Initialised as ``nn.Linear`` is, U(-1/sqrt(in), 1/sqrt(in)), each replicate from its own generator, so that
    replicate r equals the same seed alone.

    Args:
        inputs, outputs: Widths.
        generators: One CPU generator per replicate.
    """

    def __init__(self, inputs: int, outputs: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.stack([torch.rand(*shape, generator=g) for g in generators]) * 2 * bound - bound)

        self.weight, self.bias = uniform(inputs, outputs), uniform(1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(R, B, inputs) -> (R, B, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class MlpHead(nn.Module):
    """``normalise(W2 gelu(W1 x + b1) + b2)`` on one standardised feature vector per item.

    Args:
        inputs: Width of a feature.
        hidden: Width of the hidden layer.
        dim: Width of the embedding.
        generators: One per replicate.
    """

    tokens = False

    def __init__(self, inputs: int, hidden: int, dim: int, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.first = ReplicatedLinear(inputs, hidden, generators)
        self.second = ReplicatedLinear(hidden, dim, generators)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(R, B, inputs) -> (R, B, dim), L2-normalised."""
        y = self.second(nn.functional.gelu(self.first(x)))
        return y / torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp_min(1e-12)


class AttentionHead(nn.Module):
    """Attention pooling over tokens, then an MLP head.

    ``a_qt = softmax_t(x_t . k_q)`` over the tokens of the item, ``pooled = concat_q sum_t a_qt x_t``.

    Args:
        inputs: Width of a token.
        hidden, dim: As :class:`MlpHead`.
        generators: One per replicate.
        queries: Number of learned queries.
    """

    tokens = True

    def __init__(self, inputs: int, hidden: int, dim: int, generators: list[torch.Generator], queries: int = 4) -> None:
        super().__init__()
        self.queries = ReplicatedLinear(inputs, queries, generators)
        self.mlp = MlpHead(inputs * queries, hidden, dim, generators)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(R, B, T, inputs) with mask (R, B, T), True where there is a token -> (R, B, dim), L2-normalised."""
        replicates, batch, length, width = x.shape
        scores = self.queries(x.reshape(replicates, batch * length, width)).reshape(replicates, batch, length, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        pooled = scores.softmax(dim=2).transpose(2, 3) @ x
        return self.mlp(pooled.flatten(2))


HEADS: dict[str, type[nn.Module]] = {"mlp": MlpHead, "attention": AttentionHead}


class DualEncoder(nn.Module):
    """An image head and a text head whose embeddings are compared by cosine.

    Args:
        head: A key of :data:`HEADS`.
        image_inputs, text_inputs: Widths of the frozen features.
        hidden, dim: Widths of the heads.
        generators: One CPU generator per replicate.
    """

    def __init__(
        self, head: str, image_inputs: int, text_inputs: int, hidden: int, dim: int, generators: list[torch.Generator]
    ) -> None:
        super().__init__()
        self.image = HEADS[head](image_inputs, hidden, dim, generators)
        self.text = HEADS[head](text_inputs, hidden, dim, generators)
