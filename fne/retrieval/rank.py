"""``rank``: weights and a split -> where every relevant item stands, per seed and direction. Torch ends
here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne import paths, provenance
from fne.config import Study
from fne.data.manifest import Manifest, SplitView
from fne.data.truth import Truth, sorted_pairs
from fne.errors import bad_input
from fne.files import atomic_path, read_json
from fne.progress import Progress
from fne.retrieval import protocols

if TYPE_CHECKING:
    import torch

SCHEMA = 1
TOP = 10


def run(study: Study, variant: str, block: str, split: str, root: Path, threads: int, device: str) -> None:
    """Rank a split with every replicate of one training job and write ``rankings.<split>.npz``.

    Arrays: ``pairs`` (P, 2) of (image, caption) positions that are relevant and ``own`` (P,) which of them
        are an image
    with its own caption; ``caption_image`` (M,); ``image_queries`` and ``caption_queries`` of protocol
    ``truth``; per seed and direction ``<seed>/<direction>/greater`` and ``ties`` (P,), ``top_ids`` and
    ``top_scores`` (queries, 10); ``meta``, JSON. A replicate whose embeddings are not finite has no arrays
    and stands in ``meta["failed"]``.

    Args:
        study, variant, block, split: The job and what to rank.
        root: The project's folder.
        threads: CPU threads of torch.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: A file of the run or of the data is missing or does not fit.
    """
    import torch

    from fne.training.corpus import torch_device
    from fne.training.embed import embed_split

    torch.set_num_threads(threads)
    started = provenance.now()
    manifest = Manifest.load(root / paths.data_folder(study))
    view, truth = manifest.split(split), manifest.truth(split)
    trained_file = root / paths.run_folder(study, variant, block) / "run.json"
    trained = read_json(trained_file)
    accesses = []
    if split == "test":
        log = root / paths.test_accesses(study)
        accesses = [provenance.log_test_access(log, variant=variant, block=block, purpose="rank")]
    arrays, descriptions = relevant_items(manifest, view, truth)
    embedded = embed_split(study, variant, block, split, root, device)
    progress = Progress(f"rank {variant} {block}", len(trained["seeds"]), "seeds")
    ranked, failed = rank_replicates(embedded, arrays["pairs"], progress)
    progress.close()
    for seed in trained["seeds"]:
        if f"{seed}/i2t/greater" not in ranked:
            failed.setdefault(str(seed), "no checkpoint was selected: training diverged")
    meta = {
        "schema": SCHEMA, "study": study.name, "variant": variant, "title": trained["title"], "block": block,
        "dataset": manifest.dataset, "regime": study.regime, "split": split, "seeds": trained["seeds"],
        "failed": failed, "digest": trained["digest"], "config": trained["config"],
        "selected_epoch": {str(row["seed"]): row["epoch"] for row in trained["selection"]["per_seed"]},
        "protocols": descriptions,
        "record": provenance.record(started, device=torch_device(device).type, test_accesses=accesses,
                                    inputs={"weights": trained_file.with_name("weights.safetensors")}),
    }  # fmt: skip
    with atomic_path(root / paths.rankings(study, variant, block, split)) as temporary:
        np.savez_compressed(temporary, meta=np.array(json.dumps(meta)), **arrays, **ranked)


def relevant_items(
    manifest: Manifest, view: SplitView, truth: Truth
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """The relevant pairs of a split with the queries to score, and the descriptions of the protocols they
    allow.

    Raises:
        UserError: The truth lacks one of the split's own pairs, or points outside the split.
    """
    n_images, n_captions = len(view.image_ids), len(view.caption_ids)
    file = manifest.folder / manifest.truth_files[view.name]["file"]
    if len(truth.pairs) and (truth.pairs.max(axis=0) >= (n_images, n_captions)).any():
        raise bad_input("a pair points outside the split", file=file, key="pairs")
    own = truth.pairs[:, 0] == view.caption_image[truth.pairs[:, 1]]
    if own.sum() != n_captions:
        raise bad_input("an image's own caption is not among the relevant pairs", file=file, key="pairs")
    arrays = {
        "pairs": truth.pairs, "own": own, "caption_image": view.caption_image.astype(np.int32),
        "image_queries": truth.image_queries.astype(np.int32),
        "caption_queries": truth.caption_queries.astype(np.int32),
    }  # fmt: skip
    shared: dict[str, Any] = {
        "dataset": manifest.dataset, "split": view.name, "image_ids": view.image_ids,
        "caption_ids": view.caption_ids, "caption_image": view.caption_image,
    }  # fmt: skip
    every = {"i2t": np.arange(n_images), "t2i": np.arange(n_captions)}
    own_pairs = sorted_pairs(truth.pairs[own])
    descriptions = {
        protocols.OWN: protocols.describe(
            protocols.OWN, pairs=own_pairs, queries=every, relevance="own", **shared
        )
    }
    scored = {"i2t": arrays["image_queries"], "t2i": arrays["caption_queries"]}
    if any(len(positions) for positions in scored.values()):
        descriptions[protocols.TRUTH] = protocols.describe(
            protocols.TRUTH, pairs=truth.pairs, queries=scored, relevance=truth.kind, **shared
        )
    return arrays, descriptions


def rank_replicates(
    embedded: Iterable[tuple[int, torch.Tensor, torch.Tensor]],
    pairs: np.ndarray,
    progress: Progress | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Rank every replicate both ways.

    Args:
        embedded: (seed, image embeddings (N, D), caption embeddings (M, D)) per replicate.
        pairs: (P, 2) of (image, caption).
        progress: Told about every replicate.

    Returns:
        Arrays by ``<seed>/<direction>/<name>``, and the reason per seed that could not be ranked.
    """
    from fne.retrieval.ranking import is_finite, rank

    arrays: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    for seed, image, text in embedded:
        if is_finite(image, text):
            sides = {"i2t": (image, text, pairs), "t2i": (text, image, pairs[:, ::-1].copy())}
            for direction, (queries, gallery, known) in sides.items():
                ranks = rank(queries, gallery, known, top=TOP)
                for name in ("greater", "ties", "top_ids", "top_scores"):
                    arrays[f"{seed}/{direction}/{name}"] = getattr(ranks, name)
        else:
            failed[str(seed)] = "embeddings are not finite: training diverged"
        if progress is not None:
            progress.add()
    return arrays, failed
