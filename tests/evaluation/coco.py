"""COCO's test split as relevance files know it: ids and order, a small one of the same shape, and its evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fne import protocols
from fne.data.coco_relevance import Relevance, read
from fne.data.manifest import SplitView
from fne.data.truth import Truth, sorted_pairs
from fne.steps import evaluate
from fne.steps.rank import rank_replicates, relevant_items

Metrics = dict[tuple[str, str, str], float]
NOBODY = np.zeros(0, np.int32)


def view_of(images: list[int], sentids: list[int], caption_image: np.ndarray) -> SplitView:
    """A test split of COCO with these ids."""
    names = [f"COCO_val2014_{image:012d}.jpg" for image in images]
    captions = [f"{names[image]}#{number}" for number, image in enumerate(caption_image)]
    texts, rows = [""] * len(captions), (np.arange(len(images)), np.arange(len(captions)))
    return SplitView("test", *rows, np.asarray(caption_image), texts, names, captions, sentids)


def small_view(n_images: int, seed: int = 0) -> SplitView:
    """Images of five captions each, ids in no order."""
    rng = np.random.default_rng(seed)
    images = (rng.permutation(n_images) + 100_000).tolist()
    captions = (rng.permutation(5 * n_images) + 700_000).tolist()
    return view_of(images, captions, np.repeat(np.arange(n_images), 5))


def own_truth(view: SplitView) -> Truth:
    """Own pairs only, no query known well enough to be scored."""
    pairs = sorted_pairs(np.stack([view.caption_image, np.arange(len(view.caption_ids))], axis=1))
    return Truth("equal_captions", pairs, NOBODY, NOBODY)


def write_files(folder: Path, protocol: str, i2t: dict, t2i: dict) -> Path:
    """Relevance files of one protocol."""
    folder.mkdir(exist_ok=True)
    for name, content in (("image_to_caption", i2t), ("caption_to_image", t2i)):
        (folder / f"{protocol}_{name}.json").write_text(json.dumps({str(key): content[key] for key in content}))
    return folder


N = 20
VIEW = small_view(N)


def embeddings(tied: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(N, 6, generator=generator)
    texts = images.repeat_interleave(5, 0) + 2.0 * torch.randn(5 * N, 6, generator=generator)
    return (images.sign(), texts.sign()) if tied else (images, texts)


def files(folder: Path, view: SplitView) -> tuple[Relevance, ...]:
    """Relevance of both protocols, some queries left out; the two directions are no transposes."""
    rng, numbers = np.random.default_rng(0), [int(name[-16:-4]) for name in VIEW.image_ids]
    for protocol in ("eccv", "cxc"):
        i2t = {i: rng.choice(VIEW.sentids, int(rng.integers(1, 9)), False).tolist() for i in numbers[::2]}
        t2i = {c: rng.choice(numbers, int(rng.integers(1, 5)), False).tolist() for c in VIEW.sentids[::3]}
        write_files(folder, protocol, i2t, t2i)
    return tuple(read(folder, protocol, view) for protocol in ("eccv", "cxc"))


def evaluated(
    view: SplitView,
    images: torch.Tensor,
    texts: torch.Tensor,
    relevance: tuple[Relevance, ...] = (),
    rule: str = "expected",
    truth: Truth | None = None,
) -> tuple[Metrics, dict[str, np.ndarray]]:
    """Every metric of these embeddings, and the arrays of the queries file."""
    known, described = relevant_items("coco", view, truth or own_truth(view), relevance)
    ranked, failed = rank_replicates([(0, images, texts)], known)
    assert not failed
    rows, values = evaluate.evaluate_replicates([0], known | ranked, list(described), rule, [1, 5, 10])
    result = {(row["protocol"], row["direction"], row["metric"]): row["value"] for row in rows}
    assert len(result) == len(rows)
    return result, values


def evaluated_as_coco_5k(view: SplitView, *rest) -> tuple[Metrics, dict[str, np.ndarray]]:
    """The same with a split of this size taken for COCO's 5,000, so that its five folds are scored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols._NAMES, ("coco", len(view.image_ids)), "coco_5k")
        return evaluated(view, *rest)
