"""Frozen encoders through ``transformers``: what encoders of images and of texts share.

Eval mode, no gradient, float32, whatever the checkpoint was saved in: frozen batch norms and no dropout, and a feature
that depends on its own item only. With a ``grid`` in its section an encoder computes in float64 and rounds its features
onto that grid, so that they are the same on every machine.
"""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.encoders.checkpoints import Checkpoint
from fne.encoders.pooling import JOINT
from fne.utils.errors import UserError, bad_input

if TYPE_CHECKING:
    import torch


def _any_alike(features: list[np.ndarray]) -> bool:
    """Do any two differ by no more than rounding?"""
    pairs = itertools.combinations(features, 2)
    return any(np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(one) for one, other in pairs)


class Encoder(ABC):
    """What both modalities share: the model, and the record of where it came from."""

    modality: str

    def __init__(self, section: Mapping[str, Any], checkpoint: Checkpoint, device: str) -> None:
        self.section, self.checkpoint, self.device = section, checkpoint, device
        self.family, self.where = checkpoint.family, str(checkpoint.folder)
        self.tokens, self.pooling = section["level"] == "tokens", checkpoint.pooling
        self.grid = section.get("grid")
        self.model, self.config = self._model()

    def _model(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        # its progress bars and load reports would drown ours; what matters of them is checked below
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        with self.explained():
            config = AutoConfig.from_pretrained(self.checkpoint.folder)
            model, report = AutoModel.from_pretrained(
                self.checkpoint.folder,
                config=config,
                attn_implementation=self.section.get("attention"),
                use_safetensors=True,
                dtype=torch.float64 if self.grid else torch.float32,
                output_loading_info=True,
            )
        model, config = self.family.tower(model, config, self.modality, self.pooling)
        self._check_weights(report)
        return model.eval().requires_grad_(False).to(self.device), config

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what ``transformers`` raises over the checkpoint into an error for the user."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # transformers, tokenizers, processors and safetensors raise many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise bad_input(f"transformers cannot use this checkpoint: {reason}", file=self.where) from None

    def _check_weights(self, report: Mapping[str, Any]) -> None:
        """Refuse weights that transformers would fill with random numbers (a pooler nobody reads may lack)."""
        missing = set(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
        if self.pooling not in ("pooler", JOINT):
            missing = {key for key in missing if "pooler" not in key.split(".")}
        if missing:
            problem = f"the checkpoint lacks weights of its own model ({len(missing)} in all)"
            hint = "with pooling 'pooler' the pooler itself must have been trained"
            raise bad_input(problem, file=self.where, key=min(missing), hint=hint)

    def _stored(self, features: torch.Tensor) -> np.ndarray:
        """Features as the store takes them: float32, on the grid where there is one."""
        if self.grid:
            features = (features / self.grid).round() * self.grid
        return features.float().cpu().numpy()

    def probe(self) -> None:
        """Run different items, one of the greatest size, so that what does not fit is said before any work."""
        with self.explained():
            self._refuse_useless(self._examples())

    @abstractmethod
    def _examples(self) -> list[np.ndarray]:
        """Features of items that differ, of a vector each."""

    def _refuse_useless(self, found: list[np.ndarray]) -> None:
        """Training on vectors that say nothing of their item seems to work."""
        at = {"file": self.where, "key": f"encoders.{self.modality}.pooling", "value": self.pooling}
        if not all(np.isfinite(row).all() for row in found):
            raise bad_input("its features are not finite (NaN or infinite)", file=self.where)
        if not _any_alike(found):
            return
        if self.pooling in (None, JOINT):
            raise bad_input("different items have the same features", file=self.where)
        usable = []
        for pooling in ("mean", "pooler"):
            self.pooling = pooling
            with contextlib.suppress(UserError):
                if not _any_alike(self._examples()):
                    usable.append(self.pooling)
        problem = "different items have the same feature"
        if at["value"] == "cls":
            problem += ": its first position sees itself alone, so that it has no class token"
        raise bad_input(problem, **at, allowed=usable)

    def record(self) -> dict[str, Any]:
        """Checkpoint, checksums, class of the configuration."""
        return {**self.checkpoint.record(self.modality), "config_class": type(self.config).__name__}
