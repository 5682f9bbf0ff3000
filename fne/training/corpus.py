"""Open what a run reads: manifest, feature stores and truth of a study, as splits on the device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fne import paths
from fne.config import Study
from fne.data.manifest import Manifest
from fne.features.store import Features
from fne.training.data import Split, Standardiser


@dataclass(frozen=True)
class Corpus:
    """The prepared data of a study with its features, verified.

    Args:
        manifest: What it holds.
        image, text: Feature stores.
        fingerprints: Of the data and of both stores, for records and checkpoints.
    """

    manifest: Manifest
    image: Features
    text: Features
    fingerprints: dict[str, str]

    @classmethod
    def open(cls, study: Study, root: Path) -> Corpus:
        """Open and verify.

        Raises:
            UserError: Something is missing, was changed, or was made from other data or by another encoder.
        """
        manifest = Manifest.load(root / paths.data_folder(study))
        stores = {}
        for modality in paths.MODALITIES:
            folder = root / paths.features_folder(study, modality)
            stores[modality] = Features.open(folder, manifest.fingerprint(modality), modality=modality)
        fingerprints = {f"data.{modality}": manifest.fingerprint(modality) for modality in paths.MODALITIES}
        fingerprints |= {f"features.{modality}": store.fingerprint for modality, store in stores.items()}
        return cls(manifest, stores["image"], stores["text"], fingerprints)

    def training(
        self, model: dict[str, Any], device: torch.device
    ) -> tuple[Split, Split, dict[str, Standardiser]]:
        """The training split with its truth, the validation split, and the standardisers fitted on the former.

        Args:
            model: The ``model`` section of a run config, which says how features are rescaled.
            device: Where the splits go.
        """
        train = Split.load(self.manifest, "train", self.image, self.text, self.manifest.truth("train"))
        val = Split.load(self.manifest, "val", self.image, self.text, None)
        by = {
            name: Standardiser.fit(items.values, items.mask, model[f"rescale_{name}"])
            for name, items in (("image", train.image), ("text", train.text))
        }
        return train.standardised(**by, device=device), val.standardised(**by, device=device), by

    def split(self, name: str, by: dict[str, Standardiser], device: torch.device) -> Split:
        """Any split, standardised with saved standardisers, without truth."""
        return Split.load(self.manifest, name, self.image, self.text, None).standardised(**by, device=device)


def torch_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or with ``auto`` the latter where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
