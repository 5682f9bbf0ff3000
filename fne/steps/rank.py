"""``rank``: weights and a split -> where every relevant item stands, per seed and direction. Torch ends
here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne import protocols
from fne.data.coco_relevance import Relevance, files, read
from fne.data.manifest import Manifest, SplitView
from fne.data.ranked_captions import first_captions
from fne.data.truth import Truth, sorted_pairs
from fne.results.records import read_run
from fne.study import paths
from fne.study.api import Study, resolve
from fne.utils import provenance
from fne.utils.errors import bad_input
from fne.utils.files import SCHEMAS, atomic_path
from fne.utils.progress import Progress

if TYPE_CHECKING:
    import torch

    from fne.training.finetune.dataset import PixelCorpus
    from fne.training.pairs import Corpus

TOP = 10
Counters = Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]]


def run(
    study: Study,
    variant: str,
    block: str,
    split: str,
    root: Path,
    threads: int,
    device: str,
    corpus: Corpus | PixelCorpus | None = None,
) -> None:
    """Rank a split with every replicate of one training job and write ``rankings.<split>.npz``.

    Arrays: ``pairs`` (P, 2) of (image, caption) positions that any protocol counts as right; ``caption_image`` (M,);
    per protocol and direction ``<protocol>/<direction>/pairs``, the rows of ``pairs`` that count, whose queries are
    scored, and ``outside``, the query of every positive that is not in the gallery; per seed and direction
    ``<seed>/<direction>/greater`` and ``ties`` (P,), for COCO's five folds ``folded_greater`` and ``folded_ties``,
    ``top_ids`` and ``top_scores`` (queries, 10); ``meta``, JSON. A replicate whose embeddings are not finite has no
    arrays and stands in ``meta["failed"]``.

    Args:
        study, variant, block, split: The job and what to rank.
        root: The project's folder.
        threads: CPU threads of torch.
        device: ``auto``, ``cpu`` or ``cuda``.
        corpus: The data, where it is open.

    Raises:
        UserError: A file of the run or of the data is missing or does not fit.
    """
    import torch

    from fne.training.embed import embed_split
    from fne.training.pairs import torch_device

    torch.set_num_threads(threads)
    started = provenance.now()
    manifest = corpus.manifest if corpus else Manifest.load(root / paths.data_folder(study))
    view, truth, kept = first_captions(manifest.dataset, manifest.split(split), manifest.truth(split))
    requested = resolve(study, variant)["evaluation"]["relevance"] if split == "test" else {}
    given = {protocol: folder for protocol, folder in requested.items() if folder is not None}
    relevance = [read(folder, protocol, view) for protocol, folder in given.items()]
    file = manifest.folder / manifest.truth_files[view.name]["file"]
    arrays, descriptions = relevant_items(manifest.dataset, view, truth, relevance, file)
    trained_file = root / paths.run_folder(study, variant, block) / "run.json"
    trained = read_run(trained_file)
    log = root / paths.readings(study, variant, block, split)
    access = provenance.log_reading(log, variant=variant, block=block, purpose="rank")
    workers = threads if torch_device(device).type == "cuda" else 0
    embedded = embed_split(study, variant, block, split, root, device, workers, corpus)
    chosen = ((seed, image, text[kept]) for seed, image, text in embedded)
    with Progress(f"rank {variant} {block}", len(trained["seeds"]), "seeds") as progress:
        ranked, failed = rank_replicates(chosen, arrays, progress)
    for seed in trained["seeds"]:
        if f"{seed}/i2t/greater" not in ranked:
            failed.setdefault(str(seed), "no checkpoint was selected: training diverged")
    read_files = {file.name: file for protocol, folder in given.items() for file in files(folder, protocol).values()}
    meta = {
        "schema": SCHEMAS["rankings"],
        "study": study.name, "variant": variant, "title": trained["title"], "block": block,
        "dataset": manifest.dataset, "regime": study.regime, "split": split, "seeds": trained["seeds"],
        "failed": failed, "digest": trained["digest"], "code": trained["code"], "config": trained["config"],
        "selected_epoch": {str(row["seed"]): row["epoch"] for row in trained["selection"]["per_seed"]},
        "protocols": descriptions,
        "record": provenance.record(started, device=torch_device(device).type,
                                    test_accesses=[access] if split == "test" else [],
                                    inputs={"weights": trained_file.with_name("weights.safetensors"), **read_files}),
    }  # fmt: skip
    stored: dict[str, Any] = {**arrays, **ranked}
    with atomic_path(root / paths.rankings(study, variant, block, split)) as temporary:
        np.savez_compressed(temporary, meta=np.array(json.dumps(meta)), **stored)


def relevant_items(
    dataset: str, view: SplitView, truth: Truth, relevance: Sequence[Relevance] = (), file: Path | None = None
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """The relevant pairs of a split by protocol and direction, and the descriptions of the protocols they allow.

    Args:
        dataset: Its name.
        view, truth, relevance: The split and what counts as right in it.
        file: What the truth was read from.

    Raises:
        UserError: The truth lacks one of the split's own pairs, or points outside the split.
    """
    n_images, n_captions = len(view.image_ids), len(view.caption_ids)
    if len(truth.pairs) and (truth.pairs.max(axis=0) >= (n_images, n_captions)).any():
        raise bad_input("a pair points outside the split", file=file, key="pairs")
    own = truth.pairs[truth.pairs[:, 0] == view.caption_image[truth.pairs[:, 1]]]
    if len(own) != n_captions:
        raise bad_input("an image's own caption is not among the relevant pairs", file=file, key="pairs")
    result: dict[str, tuple[str, Mapping[str, np.ndarray]]] = {
        protocols.OWN: ("own", dict.fromkeys(protocols.DIRECTIONS, own))
    }
    if protocols.display_name(dataset, view.name, n_images, n_captions) == "coco_5k":
        result[protocols.FOLDED] = result[protocols.OWN]
    if len(truth.image_queries) + len(truth.caption_queries):
        scored = {"i2t": truth.image_queries, "t2i": truth.caption_queries}
        known = {
            direction: truth.pairs[np.isin(truth.pairs[:, column], scored[direction])]
            for column, direction in enumerate(protocols.DIRECTIONS)
        }
        result[protocols.TRUTH] = truth.kind, known
    result |= {item.protocol: (f"files {item.sha256}", item.pairs) for item in relevance}
    outside = {item.protocol: item.outside for item in relevance}
    pairs = sorted_pairs(np.concatenate([part for _, sides in result.values() for part in sides.values()]))
    arrays, descriptions = {"pairs": pairs, "caption_image": view.caption_image.astype(np.int32)}, {}
    places = pairs[:, 0].astype(np.int64) * n_captions + pairs[:, 1]
    for protocol, (source, sides) in result.items():
        descriptions[protocol] = protocols.describe(
            protocol, dataset=dataset, split=view.name, image_ids=view.image_ids,
            caption_ids=view.caption_ids, caption_image=view.caption_image, pairs=sides, relevance=source,
            outside=outside.get(protocol),
        )  # fmt: skip
        for direction, part in sides.items():
            rows = np.searchsorted(places, part[:, 0].astype(np.int64) * n_captions + part[:, 1])
            arrays[f"{protocol}/{direction}/pairs"] = rows.astype(np.int32)
            if protocol in outside:
                arrays[f"{protocol}/{direction}/outside"] = outside[protocol][direction]
    return arrays, descriptions


def rank_replicates(
    embedded: Iterable[tuple[int, torch.Tensor, torch.Tensor]],
    relevant: Mapping[str, np.ndarray],
    progress: Progress | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Rank every replicate both ways.

    Args:
        embedded: (seed, image embeddings (N, D), caption embeddings (M, D)) per replicate.
        relevant: Arrays as :func:`relevant_items` gives them.
        progress: Told about every replicate.

    Returns:
        Arrays by ``<seed>/<direction>/<name>``, and the reason per seed that could not be ranked.
    """
    from fne.evaluation.ranking import is_finite

    arrays: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    for seed, image, text in embedded:
        if is_finite(image, text):
            arrays |= ranks_of(seed, relevant, counters_of(image, text, relevant["pairs"]))
        else:
            failed[str(seed)] = "embeddings are not finite: training diverged"
        if progress is not None:
            progress.add()
    return arrays, failed


def counters_of(image: torch.Tensor, text: torch.Tensor, pairs: np.ndarray) -> Counters:
    """What :func:`ranks_of` takes, of embeddings, whose ranks in both directions come of one product."""
    from fne.evaluation.ranking import count_ranks_in_blocks, rank_both

    one, other = rank_both(image, text, pairs, top=TOP)
    return {
        "i2t": (lambda _: one, partial(count_ranks_in_blocks, image, text)),
        "t2i": (lambda _: other, partial(count_ranks_in_blocks, text, image)),
    }


def ranks_of(seed: int, relevant: Mapping[str, np.ndarray], counters: Counters) -> dict[str, np.ndarray]:
    """Where the relevant items stand in both directions, and in the blocks of COCO where those are scored.

    Args:
        seed: Number of the replicate.
        relevant: Arrays as :func:`relevant_items` gives them.
        counters: Per direction what ranks pairs (query, item) in the whole gallery, as
            :func:`fne.evaluation.ranking.rank` does, and what counts them within blocks of queries and gallery.

    Returns:
        Arrays by ``<seed>/<direction>/<name>``.
    """
    arrays: dict[str, np.ndarray] = {}
    pairs, caption_image = relevant["pairs"], relevant["caption_image"]
    image_bounds = protocols.fold_bounds(int(caption_image.max()) + 1)
    bounds = {"i2t": (image_bounds, np.searchsorted(caption_image, image_bounds))}
    bounds["t2i"] = bounds["i2t"][::-1]
    for direction, (rank, count_in_blocks) in counters.items():
        known = pairs if direction == "i2t" else pairs[:, ::-1].copy()
        ranks = rank(known)
        for name in ("greater", "ties", "top_ids", "top_scores"):
            arrays[f"{seed}/{direction}/{name}"] = getattr(ranks, name)
        folded = relevant.get(f"{protocols.FOLDED}/{direction}/pairs")
        if folded is not None:
            result = count_in_blocks(known[folded], *bounds[direction])
            for name, counts in zip(("greater", "ties"), result, strict=True):
                arrays[f"{seed}/{direction}/folded_{name}"] = counts
    return arrays
