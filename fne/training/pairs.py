"""Open what a run reads: manifest, feature stores and truth of a study, as splits on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fne.data.manifest import Manifest
from fne.encoders.store import Features
from fne.study import paths
from fne.study.api import Study
from fne.study.model import KEEPING
from fne.training.data import Pairs, Split, Standardiser
from fne.training.joint_heads import with_width
from fne.training.learner import embed_split
from fne.training.weights import load_model, rescaling
from fne.utils.digests import FOLDER
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    from fne.training.finetune.dataset import PixelCorpus


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
        manifest = Manifest.open(root / paths.data_folder(study))
        stores = {}
        for modality in paths.MODALITIES:
            folder = root / paths.features_folder(study, modality)
            encoder = paths.encoder(study, modality, root)
            stores[modality] = Features.open(
                folder,
                manifest.fingerprint(modality),
                modality=modality,
                encoder=encoder,
                cache=root / FOLDER / "features",
            )
        fingerprints = {f"data.{modality}": manifest.fingerprint(modality) for modality in paths.MODALITIES}
        fingerprints |= {f"features.{modality}": store.fingerprint for modality, store in stores.items()}
        return cls(manifest, stores["image"], stores["text"], fingerprints)

    def training(self, config: dict[str, Any], device: torch.device) -> tuple[Split, Split, dict[str, Tensor]]:
        """Training split with its truth, validation split with its own if exact, and what was fitted on the former.

        Args:
            config: Of a run; its ``model`` section says how features are rescaled.
            device: Where the splits go.

        Returns:
            Both splits, standardised but where a head keeps the space that they share, and the standardisers' tensors,
            which are saved with the weights.

        Raises:
            UserError: A head is to keep a space that the features do not share: their widths differ.
        """
        train = Split.load(self.manifest, "train", self.image, self.text, self.manifest.truth("train"))
        val = Split.load(self.manifest, "val", self.image, self.text, self.manifest.exact_truth("val"))
        sides, keeps = {"image": train.image, "text": train.text}, config["model"]["head"] in KEEPING
        widths = {name: items.values.shape[-1] for name, items in sides.items()}
        if keeps and widths["image"] != widths["text"]:
            problem = f"the encoders share no space: {widths['image']} and {widths['text']} dimensions"
            raise bad_input(problem, key="model.head", value=config["model"]["head"], allowed=["mlp", "attention"])
        by = {
            name: Standardiser(torch.zeros(widths[name]), torch.ones(widths[name]))
            if keeps
            else Standardiser.fit(items, rescaling(config["model"], name))
            for name, items in sides.items()
        }
        fitted = {f"{name}.{part}": getattr(one, part) for name, one in by.items() for part in ("shift", "scale")}
        return train.standardised(**by, device=device), val.standardised(**by, device=device), fitted

    def embeddings(
        self, config: dict[str, Any], weights: Path, seeds: list[int], split: str, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings (N, D) of images and (M, D) of captions of a split, for each seed of a weights file in turn.

        Raises:
            UserError: The file is missing, damaged, or holds other heads or other seeds.
        """
        model, by = load_model(weights, config["model"], seeds, device)
        items = Split.load(self.manifest, split, self.image, self.text, None).standardised(**by, device=device)
        yield from zip(*embed_split(model, items), strict=True)


def open_corpus(study: Study, root: Path, workers: int = 0) -> Corpus | PixelCorpus:
    """What a study's regime trains on: stored features, or images and captions.

    Args:
        study: The study.
        root: The project's folder.
        workers: Processes that decode images, where there are any to decode.
    """
    if study.regime == "finetune":
        from fne.training.finetune.dataset import PixelCorpus

        return PixelCorpus.open(study, root, workers)
    return Corpus.open(study, root)


def for_engine(config: dict[str, Any], train: Pairs) -> dict[str, Any]:
    """A config as one engine takes it: with the width of a space that its heads keep, and a learned temperature."""
    if isinstance(train, Split):
        keeps = config["model"]["head"] in KEEPING
        return with_width(config, train.image.values.shape[-1]) if keeps else config
    from fne.training.finetune.parts import learned_temperature

    return learned_temperature(config)


def torch_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or with ``auto`` the latter where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
