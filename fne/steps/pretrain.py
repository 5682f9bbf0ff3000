"""The verb *pretrain*: the tiny encoders of `scenes`, a ViT and a BERT, each from its own modality alone.

Neither ever sees a picture with its caption, nor a scene of any split. They are saved as ordinary transformers folders
and used through the path of any other encoder. The pair of draw 0 is shipped (:mod:`fne.encoders.shipped`).
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from fne.encoders.shipped import Recipe
from fne.encoders.store import MODALITIES
from fne.utils import provenance
from fne.utils.errors import bad_input
from fne.utils.files import atomic_folder, write_json
from fne.utils.seeding import stream_seed

LEAST_SCENES = 20


def run(recipe: Recipe, out: Path, modality: str, threads: int) -> None:
    """Pretrain the encoder of one modality; ``pretraining.json`` in its folder tells what it learned.

    The weights are a function of the recipe, bit for bit on the same machine with the same number of threads.

    Args:
        recipe: What it is pretrained on.
        out: The checkpoint folder to make.
        modality: ``"image"`` or ``"text"``.
        threads: CPU threads.

    Raises:
        UserError: Too few scenes, or there is no such modality.
    """
    if modality not in MODALITIES:
        raise bad_input("no such modality", key="modality", value=modality, allowed=MODALITIES)
    if recipe.scenes < LEAST_SCENES:
        raise bad_input("too few scenes to learn from", key="data.pretrain", value=recipe.scenes,
                        allowed=f"whole numbers from {LEAST_SCENES}")  # fmt: skip
    started = provenance.now()

    import torch
    from transformers.utils import logging

    if modality == "image":
        from fne.scenes.pretrain_image import pretrain
    else:
        from fne.scenes.pretrain_text import pretrain

    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    with atomic_folder(out) as folder, torch.random.fork_rng(devices=[]):
        # transformers draws its first weights from the global stream, which is given back afterwards
        torch.manual_seed(stream_seed(recipe.draw, "pretrain", modality, "weights"))
        scores = pretrain(recipe, folder)
        shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors makes its file private
        record = provenance.record(started, device="cpu")
        write_json(
            folder / "pretraining.json",
            {"schema": 2, "modality": modality, "recipe": asdict(recipe), "held_out": scores, "record": record},
        )
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    print(f"pretrain {modality}: on held-out scenes {told}", file=sys.stderr)
