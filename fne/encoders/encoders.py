"""Loading the frozen encoder that a config section names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from fne.encoders.checkpoints import find
from fne.encoders.image_encoder import ImageEncoder
from fne.encoders.text_encoder import TextEncoder
from fne.utils.errors import bad_input


def load(section: Mapping[str, Any], modality: str, device: str = "cpu") -> ImageEncoder | TextEncoder:
    """Load the frozen encoder that a config section names.

    Args:
        section: What :func:`fne.study.paths.encoder` gives: ``encoders.image`` or ``encoders.text``, its checkpoint a
            folder or hub id, perhaps with a ``grid``.
        modality: ``"image"`` or ``"text"``.
        device: Where to compute, ``"cpu"`` or ``"cuda"``.

    Raises:
        UserError: The section or the checkpoint cannot be used.
    """
    _check_device(device)
    checkpoint = find(section, modality)
    encoder = (ImageEncoder if modality == "image" else TextEncoder)(section, checkpoint, device)
    for part in checkpoint.family.not_applied(checkpoint.pooling):
        print(f"{checkpoint.folder}: its part {part} is not applied: features are those before it", file=sys.stderr)
    encoder.probe()
    return encoder


def _check_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise bad_input("torch sees no CUDA device here", key="device", value=device, allowed=["cpu"])
    torch.backends.cudnn.allow_tf32 = False  # convolutions in float32 on a GPU too; matrix products are by default
