"""What a run of the regime ``finetune`` reads: prepared data and two checkpoints, as splits of pixels and tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fne.data.manifest import Manifest
from fne.encoders.checkpoints import find
from fne.encoders.encoders import load
from fne.scenes.prepare import check_unseen
from fne.study import paths
from fne.study.api import Study
from fne.training.finetune.images import Transform
from fne.training.finetune.learner import embed_split
from fne.training.finetune.loading import PixelSplit
from fne.training.finetune.parts import learned_temperature
from fne.training.finetune.towers import Towers
from fne.utils.errors import bad_input
from fne.utils.files import sha256_text


@dataclass(frozen=True)
class PixelCorpus:
    """The prepared data of a study with its checkpoints.

    Args:
        manifest: What it holds.
        encoders: Config section of each side's encoder, its checkpoint ready for use.
        fingerprints: Of the data and of both checkpoints, for records and checkpoints of training.
        workers: Processes that decode images.
    """

    manifest: Manifest
    encoders: dict[str, dict[str, Any]]
    fingerprints: dict[str, str]
    workers: int

    @classmethod
    def open(cls, study: Study, root: Path, workers: int = 0) -> PixelCorpus:
        """Open and fingerprint.

        Raises:
            UserError: Something is missing, or is no checkpoint.
        """
        manifest = Manifest.open(root / paths.data_folder(study))
        fingerprints = {f"data.{side}": manifest.fingerprint(side) for side in paths.MODALITIES}
        encoders = {side: paths.encoder(study, side, root) for side in paths.MODALITIES}
        for side, section in encoders.items():
            record = find(section, side).record(side)
            if section.pop("grid", None):  # of stored features: here they are computed anew, in float32
                check_unseen(manifest.folder)
            del record["revision"]  # names of places; the digests say what is in them
            fingerprints[f"encoder.{side}"] = sha256_text(json.dumps(record, sort_keys=True))
        return cls(manifest, encoders, fingerprints, workers)

    def _common(self, config: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """What all splits share."""
        sections = {side: {**self.encoders[side], "level": "pooled", "dtype": "float32"} for side in paths.MODALITIES}
        image = load(sections["image"], "image")
        return {
            "encoder": load(sections["text"], "text"),
            "cleaned": config["finetune"]["clean_captions"],
            "padded": sections["text"]["pooling"] == "mean_all",
            "transform": Transform.of(config["finetune"], image),  # type: ignore[arg-type]  # of images
            "mean": 255 * torch.tensor(image.processor.image_mean, device=device).reshape(3, 1, 1),  # type: ignore[union-attr]
            "std": 255 * torch.tensor(image.processor.image_std, device=device).reshape(3, 1, 1),  # type: ignore[union-attr]
            "encoders": self.encoders,
            "workers": self.workers,
        }

    def training(
        self, config: dict[str, Any], device: torch.device
    ) -> tuple[PixelSplit, PixelSplit, dict[str, Tensor]]:
        """The training split with its truth, the validation split with its own if exact, and nothing fitted on them."""
        common, truth = self._common(config, device), self.manifest.truth("train")
        train = PixelSplit.load(self.manifest, "train", truth, device, **common)
        exact = self.manifest.exact_truth("val")
        return train, PixelSplit.load(self.manifest, "val", exact, device, **common), {}

    def embeddings(
        self, config: dict[str, Any], weights: Path, seeds: list[int], split: str, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings (N, D) of images and (M, D) of captions of a split, for each seed of a weights file in turn.

        Raises:
            UserError: The file is missing, damaged, or holds other seeds.
        """
        loaded = PixelSplit.load(self.manifest, split, None, device, **self._common(config, device))
        precision = torch.bfloat16 if config["finetune"]["precision"] == "bfloat16" else None
        model = Towers(learned_temperature(config), self.encoders, seeds[0]).to(device).requires_grad_(False)
        learned = model.learned() & model.state_dict().keys()
        try:
            with safe_open(weights, framework="pt") as file:
                held = json.loads((file.metadata() or {}).get("seeds", "null"))
                if held != seeds:
                    raise bad_input("weights of other seeds", file=weights, key="seeds", value=held, allowed=[seeds])
                if missing := sorted(learned.difference(file.keys())):
                    hint = "train it again"
                    raise bad_input("the weights file lacks what was trained", file=weights, key=missing[0], hint=hint)
                for r in range(len(seeds)):
                    model.load_state_dict({name: file.get_slice(name)[r] for name in learned}, strict=False)
                    yield embed_split(model, loaded, device, precision)
        except (OSError, SafetensorError) as error:
            raise bad_input(f"not a readable weights file ({error})", file=weights, hint="train it again") from None
