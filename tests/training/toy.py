"""A small world of random features in which images and captions share a latent vector."""

from __future__ import annotations

from pathlib import Path

import torch

from fne.study.library import Library
from fne.training.data import Items, Split
from tests.rules import LOSSES, STRATEGIES, taken

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "model": {"head": "mlp", "hidden": 24, "dim": 12, "dropout_image": 0.1, "dropout_text": 0.2},
    "train": {
        "epochs": 4,
        "epoch_unit": "images",
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "lr_warmup_steps": 3,
        "gradient_clip": 2.0,
        "validations": 1,
        "selection": "best_val_rsum",
    },
    "warmup": {"epochs": 1, "rule": "all", "mask": "same_image", "margin": 0.2},
    "negatives": {
        "strategy": "fne",
        "oracle": "none",
        "tau": 0.5,
        "prior": 0.01,
        "prior_rule": "fixed",
        "prior_rate": 0.05,
        "prior_floor": 1e-6,
        "prior_ceiling": 0.5,
        "density": "normal",
        "population": "hardest",
        "posterior_threshold": 0.001,
        "min_positives": 10,
        "elimination": "released",
        "elimination_power": 1.0,
        "elimination_threshold": 0.5,
        "cut_down": "global",
        "statistics_mask": "diagonal",
        "statistics_reset": "epoch",
        "statistics_decay": 0.99,
        "recalibration": "none",
        "recalibration_images": 60,
    },
    "memory": {"kind": "momentum", "size": 40, "momentum": 0.9, "initial": "empty", "fill": "after_warmup"},
    "loss": {"kind": "triplet", "margin": 0.2},
    "audit": {"picks": "sampled", "steps": 1, "limit_mb": 20.0},
}


def config(**sections: dict) -> dict:
    """The toy config with some sections changed."""
    return {name: {**section, **sections.get(name, {})} for name, section in CONFIG.items()}


def rule(strategy: str | None = None, loss: str | None = None) -> dict[str, dict]:
    """Sections for a strategy and a loss with the values of the base; either alone gets a partner that fits it."""
    base = Library(ROOT).base
    if strategy is None:
        strategy = "hardest" if "one" in LOSSES[loss].negatives else "all"
    if loss is None:
        loss = "triplet" if "one" in STRATEGIES[strategy].negatives else "infonce"
    sections = {}
    for section, chooser, name, entry in (
        ("negatives", "strategy", strategy, STRATEGIES[strategy]),
        ("loss", "kind", loss, LOSSES[loss]),
    ):
        own = {key.partition(".")[2]: base[key] for key in taken(entry).values() if key.startswith(section)}
        sections[section] = {chooser: name} | own
    sections["negatives"] |= {key: CONFIG["negatives"][key] for key in ("prior", "min_positives")}
    sections["loss"].setdefault("margin", 0.2)
    return sections


def split(images: int = 80, seed: int = 0, tokens: bool = False) -> Split:
    """A split with one to three captions per image and some extra positives in its truth."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(1, 4, (images,), generator=generator)
    owner = torch.repeat_interleave(torch.arange(images), count)
    latent = torch.randn(images, 10, generator=generator)
    image = latent @ torch.randn(10, 14, generator=torch.Generator().manual_seed(1))
    text = (latent[owner] + 0.3 * torch.randn(len(owner), 10, generator=generator)) @ torch.randn(
        10, 9, generator=torch.Generator().manual_seed(2)
    )
    relevant = torch.rand(len(owner), images, generator=generator) < 0.03
    relevant[torch.arange(len(owner)), owner] = True
    bits = torch.nn.functional.pad(relevant, (0, -images % 8)).reshape(len(owner), -1, 8).to(torch.int64)
    packed = (bits << torch.arange(8)).sum(dim=-1).to(torch.uint8)
    items = [Items(image, None), Items(text, None)]
    if tokens:
        items = []
        for values in (image, text):
            many = values.unsqueeze(1) + 0.2 * torch.randn(len(values), 4, values.shape[1], generator=generator)
            mask = torch.arange(4) < torch.randint(1, 5, (len(values), 1), generator=generator)
            items.append(Items(many * mask.unsqueeze(-1), mask))
    first = count.cumsum(0) - count
    return Split(
        image=items[0], text=items[1], caption_image=owner, first_caption=first, caption_count=count, truth=packed
    )
