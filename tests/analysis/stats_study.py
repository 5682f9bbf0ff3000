"""A small study whose results are made up from embeddings through the real ranking and evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fne import protocols
from fne.results.code import Code
from fne.results.schema import write_part
from fne.steps.evaluate import evaluate_replicates
from fne.steps.rank import rank_replicates
from fne.study import paths
from fne.study.api import Study, blocks, digest, load_study, parse_block, resolve
from fne.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Code(ROOT)
IMAGES = 40
COUNTS = np.random.default_rng(0).integers(1, 7, IMAGES)
CAPTION_IMAGE = np.repeat(np.arange(IMAGES), COUNTS)
SKILL = {"hardest_in_batch": 0.9, "fne": 1.4, "infonce": 0.9}


def study(**changes: Any) -> Study:
    """The smoke study with three seeds in blocks of two."""
    return replace(load_study("smoke", root=ROOT), **{"seeds": (0, 1, 4), "block": 2, **changes})


def relevant() -> tuple[np.ndarray, np.ndarray]:
    """All relevant pairs (own ones and a few more), and which are own."""
    rng = np.random.default_rng(1)
    matrix = np.arange(IMAGES)[:, None] == CAPTION_IMAGE
    own = matrix.copy()
    matrix |= rng.random(matrix.shape) < 0.02
    pairs = np.argwhere(matrix).astype(np.int32)
    return pairs, own[pairs[:, 0], pairs[:, 1]]


def embeddings(variant: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, and captions that resemble theirs the more, the better the variant is."""
    shared = torch.Generator().manual_seed(100)
    images = torch.randn(IMAGES, 12, generator=shared)
    noise = torch.randn(len(CAPTION_IMAGE), 12, generator=shared)
    own = torch.Generator().manual_seed(1000 * (1 + sorted(SKILL).index(variant)) + seed)
    noise = noise + 0.6 * torch.randn(len(CAPTION_IMAGE), 12, generator=own)
    texts = SKILL[variant] * images[CAPTION_IMAGE] + noise
    return torch.nn.functional.normalize(images, dim=1), torch.nn.functional.normalize(texts, dim=1)


def arrays(variant: str, seeds: list[int]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What ``rank`` would have written."""
    pairs, own = relevant()
    scored = {"i2t": np.arange(0, IMAGES, 2), "t2i": np.arange(5, len(CAPTION_IMAGE), 3)}
    known = {"pairs": pairs, "caption_image": CAPTION_IMAGE}
    for column, direction in enumerate(("i2t", "t2i")):
        known[f"own/{direction}/pairs"] = np.flatnonzero(own)
        known[f"truth/{direction}/pairs"] = np.flatnonzero(np.isin(pairs[:, column], scored[direction]))
    ranked, failed = rank_replicates(((seed, *embeddings(variant, seed)) for seed in seeds), known)
    return known | ranked, failed


def fingerprints(given: dict[str, np.ndarray], split: str = "test") -> dict[str, dict[str, Any]]:
    """Of both protocols."""
    ids: dict[str, Any] = {
        "image_ids": [f"i{i}" for i in range(IMAGES)],
        "caption_ids": [f"c{c}" for c in range(len(CAPTION_IMAGE))],
    }
    ids |= {"dataset": "scenes", "split": split, "caption_image": CAPTION_IMAGE}
    described = {}
    for name in ("own", "truth"):
        pairs = {direction: given["pairs"][given[f"{name}/{direction}/pairs"]] for direction in ("i2t", "t2i")}
        described[name] = protocols.describe(name, pairs=pairs, relevance=name, **ids)
    return {name: protocols.finish(text, "expected") for name, text in described.items()}


def write(root: Path, made: Study) -> None:
    """Every job of the study, as train, rank and evaluate would leave it (rankings are an empty file)."""
    for variant in made.variants:
        for block in blocks(made):
            write_job(root, made, variant, block)


def write_job(root: Path, made: Study, variant: str, block: str, failed: tuple[int, ...] = ()) -> None:
    """One job; ``failed`` seeds diverged."""
    seeds, config = parse_block(block), resolve(made, variant)
    given, _ = arrays(variant, seeds)
    kept = [seed for seed in seeds if seed not in failed]
    rows, values = evaluate_replicates(kept, given, ["own", "truth"], "expected", [1, 5, 10])
    folder = root / paths.run_folder(made, variant, block)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "queries.test.npz", seeds=np.array(kept), **values)
    (folder / "rankings.test.npz").touch()
    write_json(folder / "metrics.test.json", {
        "schema": 1, "study": made.name, "variant": variant, "title": made.library[variant].title,
        "block": block,
        "dataset": "scenes", "regime": "head", "split": "test", "seeds": seeds,
        "failed": {str(seed): "embeddings are not finite: training diverged" for seed in failed},
        "selected_epoch": {str(seed): 2 + seed for seed in seeds}, "digest": digest(config), "config": config,
        "code": SOURCES.training(config),
        "fingerprint": fingerprints(given), "rows": rows, "record": {},
    })  # fmt: skip
    write_json(folder / "run.json", {
        "schema": 1, "code": SOURCES.training(config), "digest": digest(config), "fingerprints": {},
        "title": made.library[variant].title,
        "selection": {"rule": "best_val_rsum", "per_seed": []},
        "seeds": seeds, "config": config, "record": {"peak_memory_mb": 500.0, "device": "cpu", "threads": 1},
        "cost": {"seconds_total": 3.5, "steps": 21, "seconds_per_step": 0.1, "seeds": len(seeds)},
    })  # fmt: skip
    rows = [{"seed": s, "epoch": 0, "loss": 0.25} for s in seeds]
    write_part(folder / "curves.parquet", rows)
    write_part(folder / "audit.parquet", [{"seed": s, "picks": 7 + s} for s in seeds])
