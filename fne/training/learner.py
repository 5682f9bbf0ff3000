"""The seam between the engine and what it trains: heads on features here, encoders in :mod:`fne.training.finetune`."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fne.training.data import EpochPlan, Items, Pairs, Split
from fne.training.dropout import dropout
from fne.training.heads import DualEncoder
from fne.training.step import Batch, clip_gradients
from fne.utils.seeding import torch_stream

Inputs = Any
"""What a learner's batch is made of; only the learner that made it looks inside."""


class Learner(ABC):
    """A dual encoder in R replicates and how it is fed; the engine knows no more of it than this.

    Attributes:
        model: The online encoder, with an ``image`` and a ``text`` side.
        dim: Width of an embedding.
    """

    model: nn.Module
    dim: int

    @abstractmethod
    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for the optimiser: ``params``, ``weight_decay`` and ``factor``, by which the rate is multiplied."""

    @abstractmethod
    def inputs(self, plan: EpochPlan, first: int) -> Iterator[Inputs]:
        """The inputs of the steps ``first``, ``first + 1``, ... of an epoch."""

    @abstractmethod
    def embed(self, inputs: Inputs, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Online embeddings (R, B, D) of images and captions in training mode, through which a loss is differentiated.

        Args:
            inputs: Of this step.
            batch: The pairs and the noise of this step.
            step: The global step, which names the streams of what draws inside an encoder.
        """

    @abstractmethod
    def embed_past(self, momentum: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embeddings (R, B, D) under the momentum encoder: no gradient, no noise."""

    @abstractmethod
    def embed_rows(self, image_row: Tensor, caption_row: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (R, B, D) of pairs (R, B) of the training split, in evaluation mode and without gradient."""

    @abstractmethod
    def embed_split(self, split: Pairs, model: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings (R, N, D) of all images and (R, M, D) of all captions of a split, in evaluation mode.

        Args:
            split: Any split.
            model: A copy of the online encoder; None: itself.
        """

    def embed_pairs(self, image_row: Tensor, caption_row: Tensor, chunk: int = 4096) -> tuple[Tensor, Tensor]:
        """As :meth:`embed_rows`, for many pairs (R, N), a chunk at a time; where several processes train, all call it.

        Args:
            image_row, caption_row: (R, N) positions in the training split.
            chunk: Pairs embedded at once.
        """
        result: list[Tensor] = []
        for places in torch.arange(image_row.shape[1], device=image_row.device).split(chunk):
            parts = self.embed_rows(image_row[:, places], caption_row[:, places])
            result = result or [part.new_empty(*image_row.shape, part.shape[-1]) for part in parts]
            for side, part in zip(result, parts, strict=True):
                side[:, places] = part
        return result[0], result[1]

    def start_epoch(self, epoch: int) -> None:  # noqa: B027 - heads have nothing to begin
        """Called before the first step of an epoch, and of a resumed one."""

    def backward(self, losses: Tensor) -> None:
        """Differentiate the losses (R,) of the last :meth:`embed` into the gradients of the parameters."""
        losses.sum().backward()

    @abstractmethod
    def clip(self, limit: float | None) -> None:
        """Scale the gradient of each replicate to a norm of at most ``limit``; None switches it off."""

    @abstractmethod
    def keep(self, best: dict[str, Tensor], better: Tensor) -> None:
        """Copy the weights of the replicates ``better`` (R,) bool, on the CPU, into ``best``."""

    def stacked(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights with a leading replicate axis, as a weights file holds them."""
        return weights

    def momentum_copy(self) -> nn.Module:
        """A frozen copy of the online encoder."""
        return copy.deepcopy(self.model).requires_grad_(False)


class HeadLearner(Learner):
    """R pairs of projection heads on frozen features.

    Args:
        config: The resolved config.
        seeds: R seeds.
        train: The training split, standardised and on the device.
        device: Where everything lives.
    """

    def __init__(self, config: dict[str, Any], seeds: Sequence[int], train: Split, device: torch.device) -> None:
        section = config["model"]
        self.train, self.dim = train, section["dim"]
        self.dropout = (section["dropout_image"], section["dropout_text"])
        self.model = DualEncoder(
            section["head"],
            train.image.values.shape[-1],
            train.text.values.shape[-1],
            section["hidden"],
            section["dim"],
            [torch_stream(seed, "init") for seed in seeds],
        ).to(device)
        self.parameters = list(self.model.parameters())

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        decayed = [p for p in self.parameters if p.shape[1] > 1]
        plain = [p for p in self.parameters if p.shape[1] == 1]
        return [
            {"params": decayed, "weight_decay": weight_decay, "factor": 1.0},
            {"params": plain, "weight_decay": 0.0, "factor": 1.0},
        ]

    def inputs(self, plan: EpochPlan, first: int) -> Iterator[Inputs]:
        for at in range(first, plan.image_row.shape[1]):
            yield self.train.image.take(plan.image_row[:, at]), self.train.text.take(plan.caption_row[:, at])

    def embed(self, inputs: Inputs, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        noisy = [
            (dropout(values, batch.noise[:, side], self.dropout[side]), mask)
            for side, (values, mask) in enumerate(inputs)
        ]
        return self.model.image(*noisy[0]), self.model.text(*noisy[1])  # type: ignore[operator]  # modules

    @torch.no_grad()
    def embed_past(self, momentum: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
        return momentum.image(*inputs[0]), momentum.text(*inputs[1])  # type: ignore[operator]  # modules

    @torch.no_grad()
    def embed_rows(self, image_row: Tensor, caption_row: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_past(self.model, (self.train.image.take(image_row), self.train.text.take(caption_row)))

    def embed_split(self, split: Split, model: nn.Module | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # its own
        return embed_split(model or self.model, split)  # type: ignore[arg-type]

    def clip(self, limit: float | None) -> None:
        clip_gradients(self.parameters, limit)

    def keep(self, best: dict[str, Tensor], better: Tensor) -> None:
        mask = better.to(next(self.model.parameters()).device)
        for name, value in self.model.state_dict().items():
            best[name][mask] = value[mask]


def build_learner(config: dict[str, Any], seeds: Sequence[int], train: Pairs, device: torch.device) -> Learner:
    """What a config trains on a split: heads on its features, or encoders on its pixels and tokens."""
    if isinstance(train, Split):
        return HeadLearner(config, seeds, train, device)
    from fne.training.finetune.learner import FinetuneLearner

    return FinetuneLearner(config, seeds, train, device)  # type: ignore[arg-type]  # pixels


@torch.no_grad()
def embed_split(model: DualEncoder, split: Split, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """Embeddings (R, N, D) of all images and (R, M, D) of all captions of a split.

    Args:
        model: The heads, R replicates.
        split: Standardised, on the model's device.
        chunk: Items embedded at once.
    """

    def side(head: nn.Module, items: Items) -> Tensor:
        replicates, result = next(head.parameters()).shape[0], torch.empty(0)
        for rows in torch.arange(len(items), device=items.values.device).split(chunk):
            part = head(*items.take(rows.expand(replicates, -1)))
            if not len(result):
                result = part.new_empty(replicates, len(items), part.shape[-1])
            result[:, rows] = part
        return result

    return side(model.image, split.image), side(model.text, split.text)
