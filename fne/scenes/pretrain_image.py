"""Pretraining of the tiny ViT of `scenes`: pictures and what is in them, never a caption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.encoders.shipped import Recipe
from fne.scenes.labels import FACTS, scene_facts, table
from fne.scenes.optimise import (
    BATCH,
    FACT_SCALE,
    TINY,
    WIDTH,
    fact_loss,
    fact_scores,
    optimise,
    pretrain_scenes,
    shuffled_batches,
    split_point,
)
from fne.scenes.render import render
from fne.scenes.world import BACKGROUNDS, CODES, COLOURS, GRID, SHAPES, SIZES, Scenes, decode
from fne.utils.seeding import numpy_stream

if TYPE_CHECKING:
    from torch import Tensor

EPOCHS, RATE, FACT_WEIGHT = 5, 2.0e-3, 0.1
PARTS = (len(SIZES) + 1, len(COLOURS) + 1, len(SHAPES) + 1)
"""Classes of size, colour and shape of a cell; class 0 of each means an empty cell."""


def cell_classes(scenes: Scenes) -> np.ndarray:
    """Size, colour and shape class of every cell: int64 (n, 9, 3)."""
    rows = [(0, 0, 0)] + [tuple(value + 1 for value in decode(code)) for code in range(1, CODES + 1)]
    return np.array(rows, np.int64)[scenes.cells]


def pretrain(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train a ViT whose patches are the cells of the grid, and save it as a checkpoint.

    From every patch token it must tell what stands in its cell; from the mean over the patch tokens, which is the
    feature, the background and the facts that hold of the whole scene.

    Args:
        recipe: What it is pretrained on.
        folder: Where the checkpoint goes.

    Returns:
        Accuracies on held-out scenes.
    """
    import torch
    from torch import nn
    from transformers import ViTConfig, ViTModel

    scenes, size = pretrain_scenes(recipe), recipe.image_size
    kept = split_point(len(scenes))
    pictures = render(scenes, numpy_stream(recipe.draw, "scenes", "pretrain", "pictures"), size)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    cells = torch.from_numpy(cell_classes(scenes))
    background = torch.from_numpy(scenes.background.astype(np.int64))
    facts = torch.from_numpy(table(scene_facts(scene) for scene in scenes))
    config = ViTConfig(**TINY, num_hidden_layers=3, image_size=size, patch_size=size // GRID, initializer_range=0.04)
    model = ViTModel(config, add_pooling_layer=False)
    # places as loud as the patches themselves: what stands where is learned several times faster
    nn.init.normal_(model.embeddings.position_embeddings, std=0.3)
    of_cell, of_ground, of_scene = nn.Linear(WIDTH, sum(PARTS)), nn.Linear(WIDTH, len(BACKGROUNDS)), _fact_head()

    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        tokens = model(pixel_values=pixels[rows].float() / 127.5 - 1).last_hidden_state[:, 1:]
        return tokens, tokens.mean(1)

    def loss_of(batch: np.ndarray) -> Tensor:
        rows = torch.from_numpy(batch)
        tokens, pooled = forward(rows)
        loss = FACT_WEIGHT * fact_loss(of_scene(pooled * FACT_SCALE), facts[rows])
        loss = loss + nn.functional.cross_entropy(of_ground(pooled), background[rows])
        for part, logits in enumerate(of_cell(tokens).split(PARTS, dim=-1)):
            loss = loss + nn.functional.cross_entropy(logits.flatten(0, 1), cells[rows][..., part].flatten())
        return loss

    batches = shuffled_batches(kept, BATCH, EPOCHS, numpy_stream(recipe.draw, "pretrain", "image", "order"))
    optimise(loss_of, (model, of_cell, of_ground, of_scene), batches, RATE, "pretrain image")
    model.eval()
    with torch.inference_mode():
        rows = torch.arange(kept, len(scenes))
        tokens, pooled = forward(rows)
        told = torch.stack([logits.argmax(-1) for logits in of_cell(tokens).split(PARTS, dim=-1)], dim=-1)
        right, taken = (told == cells[rows]).all(-1), cells[rows][..., 0] > 0
        scores = {
            "cell_accuracy": float(right.float().mean()),
            "object_accuracy": float(right[taken].float().mean()),
            "background_accuracy": float((of_ground(pooled).argmax(-1) == background[rows]).float().mean()),
            **fact_scores(of_scene(pooled * FACT_SCALE), facts[rows]),
        }
    model.save_pretrained(folder)
    _write_processor(folder, size)
    return scores


def _fact_head() -> Any:
    from torch import nn

    head = nn.Linear(WIDTH, len(FACTS))
    nn.init.constant_(head.bias, -2.0)  # most facts are false of most scenes
    return head


def _write_processor(folder: Path, size: int) -> None:
    """Resizing (none for the pictures of the world itself) and scaling to [-1, 1]."""
    half = [0.5, 0.5, 0.5]
    settings = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": size, "width": size},
                "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255,
                "do_normalize": True, "image_mean": half, "image_std": half}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
