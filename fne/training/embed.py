"""Embeddings of a split under the selected weights of a finished training job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fne import paths
from fne.config import Study, parse_block, resolve
from fne.errors import bad_input
from fne.files import read_json
from fne.models.heads import DualEncoder
from fne.training import learner
from fne.training.corpus import Corpus, torch_device
from fne.training.data import Standardiser


def embed_split(
    study: Study,
    variant: str,
    block: str,
    split: str,
    root: Path,
    device: str = "cpu",
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (seed, images (N, D), captions (M, D)) for every replicate that has selected weights.

    Args:
        study, variant, block: A finished training job.
        split: ``train``, ``val`` or ``test``.
        root: The project's folder.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: The job's results are missing, damaged, or were trained on other data or features.
    """
    folder, where = root / paths.run_folder(study, variant, block), torch_device(device)
    corpus = Corpus.open(study, root)
    finished = read_json(folder / "run.json")
    for key, value in corpus.fingerprints.items():
        if finished["fingerprints"].get(key) != value:
            raise bad_input(
                "trained on other data or features",
                file=folder / "run.json",
                key=f"fingerprints.{key}",
                value=finished["fingerprints"].get(key),
                allowed=[value],
                hint="train it again",
            )
    model, standardisers = load_model(
        folder / "weights.safetensors", resolve(study, variant)["model"], parse_block(block), where
    )
    image, text = learner.embed_split(model, corpus.split(split, standardisers, where))
    for r, selected in enumerate(finished["selection"]["per_seed"]):
        if selected["epoch"] >= 0:
            yield selected["seed"], image[r], text[r]


def load_model(
    path: Path, config: dict[str, Any], seeds: list[int], device: torch.device
) -> tuple[DualEncoder, dict[str, Standardiser]]:
    """Read the heads of a block and the standardisers of their inputs.

    Args:
        path: ``weights.safetensors`` of a finished job.
        config: The ``model`` section of its config.
        seeds: The seeds it must hold.
        device: Where the heads go; the standardisers stay on the CPU.

    Raises:
        UserError: The file is missing, damaged, or holds other heads or other seeds.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            held = json.loads((file.metadata() or {}).get("seeds", "null"))
    except (OSError, SafetensorError) as error:
        raise bad_input(f"not a readable weights file ({error})", file=path, hint="train it again") from None
    if held != seeds:
        raise bad_input("weights of other seeds", file=path, key="seeds", value=held, allowed=[seeds])
    standardisers = {
        side: Standardiser(tensors.pop(f"{side}.shift"), tensors.pop(f"{side}.scale"), config[f"rescale_{side}"])
        for side in paths.MODALITIES
    }
    mlp = "mlp." if config["head"] == "attention" else ""
    hidden, dim = tensors[f"image.{mlp}second.weight"].shape[1:]
    widths = [len(standardisers[side].shift) for side in paths.MODALITIES]
    model = DualEncoder(config["head"], *widths, hidden, dim, [torch.Generator() for _ in seeds])
    model.load_state_dict(tensors, strict=True)
    return model.to(device).requires_grad_(False), standardisers
