"""COCO's protocols at full size: seconds and memory, beside the package ``eccv_caption`` on the same ranking.

Synthetic embeddings of 5,000 images and 25,000 captions, the real relevance files (the package's own). Ratios are of
processor seconds on one thread, which other work on the machine changes little; ``--threads`` is for the elapsed time,
which it does change: the load is printed beside it. What it prints is kept in ``protocols.md``:

    python workflow/benchmarks/protocols.py > workflow/benchmarks/protocols.md
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eccv_caption
import numpy as np
import torch

from fne.data.coco_relevance import read
from fne.data.manifest import SplitView
from fne.data.truth import Truth, sorted_pairs
from fne.steps.evaluate import evaluate_replicates
from fne.steps.rank import rank_replicates, relevant_items
from fne.utils.provenance import cpu_model

DATA = Path(eccv_caption.__file__).parent / "data"
KS = (1, 5, 10)
MIB = 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds and result, progress bars held back."""
    with contextlib.redirect_stderr(io.StringIO()):
        start = time.process_time()
        result = work()
        return time.process_time() - start, result


def karpathy_test(package: eccv_caption.Metrics) -> SplitView:
    """The split in Karpathy's order, five captions in a row of one image."""
    sentids = package.coco_ids.tolist()
    images = [package.coco_gts["t2i"][caption][0] for caption in sentids[::5]]
    names = [f"COCO_val2014_{image:012d}.jpg" for image in images]
    captions = [f"{names[c // 5]}#{c % 5}" for c in range(len(sentids))]
    rows = np.arange(len(names)), np.arange(len(sentids))
    return SplitView("test", *rows, rows[1] // 5, [""] * len(captions), names, captions, sentids)


def embeddings(dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors whose R@1 is that of a fair model."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5000, dim, generator=generator)
    texts = images.repeat_interleave(5, 0) + 6.0 * torch.randn(25_000, dim, generator=generator)
    return torch.nn.functional.normalize(images, dim=1), torch.nn.functional.normalize(texts, dim=1)


def ranked_lists(view: SplitView, images: torch.Tensor, texts: torch.Tensor) -> dict[str, dict[int, list[int]]]:
    """Whole rankings, as the package reads them; similarities are made as for ranking here."""
    numbers = [int(name[-16:-4]) for name in view.image_ids]
    result: dict[str, dict[int, list[int]]] = {"i2t": {}, "t2i": {}}
    for side, queries, gallery, q, g in (
        ("i2t", numbers, view.sentids, images, texts), ("t2i", view.sentids, numbers, texts, images),
    ):  # fmt: skip
        ids, wide = np.array(gallery, dtype=object), g.double().T  # lists of one and the same objects: 2 GB, not 9
        for part in torch.arange(len(q)).split(200):
            order = np.argsort(-(q[part].double() @ wide).float().numpy(), axis=1)
            result[side] |= zip([queries[i] for i in part], ids[order].tolist(), strict=True)
    return result


def by_package(package: eccv_caption.Metrics, lists: dict[str, dict[int, list[int]]], folds: bool) -> dict:
    """Its metrics by (protocol, direction, metric)."""
    computed = {("eccv", name): values for name, values in package.eccv_metrics(lists, "all").items()}
    for k in KS:
        computed["cxc", f"cxc_r{k}"] = package.cxc_recalls(lists, "all", K=k)
        if folds:
            computed["own", f"own_r{k}"] = package.coco_5k_recalls(lists, "all", K=k)
            computed["coco_1k_5fold", f"own_r{k}"] = package.coco_1k_recalls(lists, "all", K=k)
    names = {"rprecision": "r_precision"}
    return {
        (protocol, side, names.get(metric, metric)): value
        for (protocol, name), values in computed.items()
        for metric in [name.partition("_")[2]]
        for side, value in values.items()
    }


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    package = eccv_caption.Metrics()
    view, (images, texts) = karpathy_test(package), embeddings(given.dim)
    no_queries, captions = np.zeros(0, np.int32), np.arange(25_000)
    truth = Truth("equal_captions", sorted_pairs(np.stack([captions // 5, captions], axis=1)), no_queries, no_queries)
    place = torch.device(given.device)

    reading, files = timed(lambda: [read(DATA, protocol, view) for protocol in ("eccv", "cxc")])
    known, described = relevant_items("coco", view, truth, files)
    before = peak_mib()
    ranking, (ranked, _) = timed(lambda: rank_replicates([(0, images.to(place), texts.to(place))], known))
    arrays = known | ranked
    everything, (rows, _) = timed(lambda: evaluate_replicates([0], arrays, list(described), "expected", KS))
    annotated = min(
        timed(lambda: evaluate_replicates([0], arrays, ["eccv", "cxc"], "expected", KS))[0] for _ in range(3)
    )
    torch.set_num_threads(given.threads)
    start, load = time.perf_counter(), os.getloadavg()[0]
    again, _ = rank_replicates([(0, images.to(place), texts.to(place))], known)
    evaluate_replicates([0], known | again, list(described), "expected", KS)
    elapsed, memory = time.perf_counter() - start, peak_mib()
    result = {(row["protocol"], row["direction"], row["metric"]): row["value"] for row in rows}

    sorting, lists = timed(lambda: ranked_lists(view, images, texts))
    their_annotated, _ = timed(lambda: by_package(package, lists, folds=False))
    their_everything, expected = timed(lambda: by_package(package, lists, folds=True))
    off = max(abs(result[key] - value) for key, value in expected.items())

    print("# Protocols of COCO: seconds and memory\n")
    print(
        f"5,000 images, 25,000 captions, {given.dim} dimensions, random embeddings (image to text R@1 "
        f"{result['own', 'i2t', 'r1']:.3f}, text to image {result['own', 't2i', 'r1']:.3f}); relevance files of "
        f"eccv_caption 0.1.0. {cpu_model()}; ranks on {given.device}. Made by `python "
        f"workflow/benchmarks/protocols.py --threads {given.threads} --dim {given.dim} --device {given.device}`.\n"
    )
    print("Processor seconds on one thread:\n")
    print("| step | this package | eccv_caption | ratio |\n| --- | ---: | ---: | ---: |")
    for name, mine, theirs in (
        ("relevance files to positions", reading, None),
        ("embeddings to what metrics read: counts; whole ranked lists", ranking, sorting),
        ("from there: all protocols (COCO 1K, COCO 5K, ECCV, CxC)", everything, their_everything),
        ("from there: ECCV and CxC alone", annotated, their_annotated),
        ("embeddings to all protocols", ranking + everything, sorting + their_everything),
        ("embeddings to ECCV and CxC alone", ranking + annotated, sorting + their_annotated),
    ):
        other = ("", "") if theirs is None else (f"{theirs:.2f}", f"{theirs / mine:.0f}x")
        print(f"| {name} | {mine:.3f} | {other[0]} | {other[1]} |")
    print(
        f"\nElapsed from embeddings to all protocols with {given.threads} thread(s): {elapsed:.1f} s at a load of "
        f"{load:.1f} on {os.cpu_count()} processors. "
        f"Largest difference of {len(expected)} metrics: {off:.1e}. Peak memory of this package's part: "
        f"{memory:.0f} MiB, of which {before:.0f} MiB were there before ranking (Python, torch, embeddings, files)."
    )


if __name__ == "__main__":
    main()
