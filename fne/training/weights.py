"""Weights of a finished training job, read back: the heads of a block and the standardisers of their inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fne.study import paths
from fne.training import joint_heads as joint_heads  # they are heads too
from fne.training.data import Standardiser
from fne.training.heads import DualEncoder
from fne.utils.errors import bad_input


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
        side: Standardiser(tensors.pop(f"{side}.shift"), tensors.pop(f"{side}.scale"), rescaling(config, side))
        for side in paths.MODALITIES
    }
    image, text = (len(standardisers[side].shift) for side in paths.MODALITIES)
    hidden, dim = config.get("hidden", 0), config.get("dim", image)
    model = DualEncoder(config["head"], image, text, hidden, dim, [torch.Generator() for _ in seeds])
    model.load_state_dict(tensors, strict=True)
    return model.to(device).requires_grad_(False), standardisers


def rescaling(config: dict[str, Any], side: str) -> str:
    """How the features of a side are rescaled, by the ``model`` section of a config: not, where a head keeps them."""
    return config.get(f"rescale_{side}", "none")
