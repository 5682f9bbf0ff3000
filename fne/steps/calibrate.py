"""``calibrate``: does a false-negative probability mean what it says? Fitted on validation, scored on test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fne.analysis.posteriors import Posterior, posteriors
from fne.analysis.scores import METRICS, Scored, bootstrap
from fne.data import cxc_sits
from fne.data.manifest import Manifest, SplitView
from fne.data.truth import Truth
from fne.negatives import maps as recalibration
from fne.protocols import DIRECTIONS
from fne.study import paths
from fne.study.api import Study, parse_block, resolve
from fne.training.embed import embed_split
from fne.training.pairs import Corpus, torch_device
from fne.utils import provenance
from fne.utils.errors import bad_input
from fne.utils.files import SCHEMAS, atomic_path
from fne.utils.seeding import numpy_stream

if TYPE_CHECKING:
    from fne.training.finetune.dataset import PixelCorpus

IMAGES = 600
"""At most so many images with one caption each are looked at: 359,400 pairs, some 1,000 positives at .3 %."""
BATCHES = 32
"""Random validation batches that statistics are fitted on, as many as the densities' figure is drawn from."""
DRAWS = 200


@dataclass(frozen=True)
class Sample:
    """n images with one caption each, and what is known of their pairs.

    Args:
        image, caption: (n,) positions within the split.
        counted, positive: (n, n) bool, pairs (image, caption) that are scored, and those known to be relevant.
    """

    image: np.ndarray
    caption: np.ndarray
    counted: np.ndarray
    positive: np.ndarray

    def similarities(self, image: Tensor, text: Tensor) -> Tensor:
        """(n, n) cosine of the sample's images and captions."""
        rows = [torch.as_tensor(side, device=image.device) for side in (self.image, self.caption)]
        return image[rows[0]] @ text[rows[1]].T

    def known(self, device: torch.device) -> Tensor:
        """(n, n) bool, the pairs known to be relevant."""
        return torch.as_tensor(self.positive, device=device)


def run(
    study: Study,
    variant: str,
    block: str,
    root: Path,
    threads: int,
    device: str,
    corpus: Corpus | PixelCorpus | None = None,
) -> None:
    """Score every posterior of a variant with every replicate of one job and write ``calibration.npz``.

    Statistics and priors are fitted on random validation batches, without their truth, as training fits them; a rule
    that calibrates itself (``negatives.recalibration``) is given validation pairs whose truth is exact. On the
    validation pairs that are known (all of them, or those that people rated) an isotonic and Platt's map are fitted,
    and their result is scored too. Similarities are those of the trained encoder, without momentum encoder and queue.

    Args:
        study, variant, block: The job.
        root: The project's folder.
        threads: CPU threads of torch.
        device: ``auto``, ``cpu`` or ``cuda``.
        corpus: The data, where it is open.

    Raises:
        UserError: The variant estimates nothing, or a file of the run or of the data is missing or does not fit.
    """
    torch.set_num_threads(threads)
    started, config = provenance.now(), resolve(study, variant)
    if not (names := [item.name for item in posteriors(config)]):
        raise bad_input("estimates no false negatives", file=study.name, key="variant", value=variant)
    manifest = corpus.manifest if corpus else Manifest.load(root / paths.data_folder(study))
    views = {split: manifest.split(split) for split in ("val", "test")}
    truths = {split: cxc_sits.known(config, views[split], manifest.truth(split)) for split in views}
    log = root / paths.readings(study, variant, block, "calibrate")
    access = provenance.log_reading(log, variant=variant, block=block, purpose="calibrate")
    workers = threads if torch_device(device).type == "cuda" else 0
    embedded = {
        split: {seed: (image, text) for seed, image, text in
                embed_split(study, variant, block, split, root, device, workers, corpus)}
        for split in views
    }  # fmt: skip
    samples = list(sampled(views["test"], truths["test"]))
    known = [] if truths["val"].kind == "equal_captions" else list(sampled(views["val"], truths["val"]))
    exact = known[0][1] if truths["val"].kind == "exact" else None
    rows, draws = [], []
    for seed in parse_block(block):
        if seed not in embedded["val"]:
            continue  # it diverged: missing.csv says so
        batches = list(val_batches(views["val"], *embedded["val"][seed], config["train"]["batch_size"]))
        pairs = None
        if exact is not None:
            pairs = exact.similarities(*embedded["val"][seed]), exact.known(embedded["val"][seed][0].device)
        for posterior in posteriors(config):
            posterior.fit(batches, pairs)
            for row, drawn in scored(posterior, embedded["test"][seed], samples, embedded["val"][seed], known):
                rows.append({"seed": seed, "posterior": posterior.name, "own": posterior.own, **row})
                draws.append(drawn)
    meta = {
        "posteriors": names, "rows": rows, "truth": {split: truth.kind for split, truth in truths.items()},
        "record": provenance.record(started, device=torch_device(device).type, test_accesses=[access],
                                    inputs={file.name: file for file in paths.ratings_files(study)}),
    }  # fmt: skip
    _write(study, variant, block, root, meta, draws)


def write_none(study: Study, variant: str, block: str, root: Path) -> None:
    """Write ``calibration.npz`` of a variant that estimates no false negatives: no rows, of nothing that was read."""
    log = root / paths.readings(study, variant, block, "calibrate")
    log.touch()
    meta = {"posteriors": [], "rows": [], "truth": {}, "record": provenance.record(provenance.now())}
    _write(study, variant, block, root, meta, [])


def _write(study: Study, variant: str, block: str, root: Path, meta: dict[str, Any], draws: list[np.ndarray]) -> None:
    named = {"study": study.name, "variant": variant, "block": block, "config": resolve(study, variant)}
    meta = {"schema": SCHEMAS["calibration"], **named, **meta}
    with atomic_path(root / paths.run_folder(study, variant, block) / "calibration.npz") as temporary:
        np.savez_compressed(temporary, meta=np.array(json.dumps(meta)), draws=np.array(draws, np.float32))


@torch.no_grad()
def scored(
    posterior: Posterior,
    test: tuple[Tensor, Tensor],
    samples: list[tuple[str, Sample]],
    val: tuple[Tensor, Tensor],
    known: list[tuple[str, Sample]],
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Rows of one posterior and seed, with the scores of every bootstrap draw: NaN for a density not the variant's own.

    Args:
        posterior: Fitted.
        test, val: Embeddings of images and of captions.
        samples: Source of truth and pairs of the test split; those of one source are scored together.
        known: The same of the validation split where its pairs are known, else empty.
    """
    maps: dict[str, list[Any]] = {"none": [lambda p: p] * 2}
    if known:
        probability, outcome = _counted(posterior, val, [sample for _, sample in known])
        ascending = [(side, np.argsort(side)) for side in _apart(probability)]
        for kind in recalibration.MAPS:
            fits = [recalibration.fit(kind, side[order], outcome[order]) for side, order in ascending]
            maps[kind] = [fits[0], fits[-1]]
    for source in dict.fromkeys(name for name, _ in samples):
        mine = [sample for name, sample in samples if name == source]
        probability, outcome = _counted(posterior, test, mine)
        # Places within the sample: all samples of one source have the same images.
        image, owner = (np.concatenate(side) for side in zip(*(np.nonzero(s.counted) for s in mine), strict=True))
        sides = _apart(probability)
        for side, direction in enumerate(DIRECTIONS if len(sides) > 1 else ("both",)):
            order = np.argsort(sides[side])  # every map increases: no score sorts again
            p, positive = sides[side][order], outcome[order]
            items = [Scored(np.clip(fitted[side](p), 0.0, 1.0), positive) for fitted in maps.values()]
            drawn = np.full((len(items), DRAWS, len(METRICS)), np.nan)
            if posterior.own:  # drawing takes most of the time
                stream = numpy_stream(0, "calibration", source)  # the same images for every posterior and run
                drawn = bootstrap(items, image[order], owner[order], len(mine[0].image), DRAWS, stream)
            for kind, item, of_draws in zip(maps, items, drawn, strict=True):
                yield {
                    "recalibration": kind, "source": source, "direction": direction, "pairs": len(positive),
                    "positives": int(positive.sum()), "bins": item.reliability(),
                    "scores": {name: None if np.isnan(value) else float(value)
                               for name, value in zip(METRICS, item.scores(), strict=True)},
                }, of_draws  # fmt: skip


def _counted(
    posterior: Posterior, embedded: tuple[Tensor, Tensor], samples: list[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (2, N) of the counted pairs of all samples, and (N,) bool which are relevant."""
    result = [posterior.probability(item.similarities(*embedded)).cpu().numpy()[:, item.counted] for item in samples]
    return np.concatenate(result, axis=1), np.concatenate([item.positive[item.counted] for item in samples])


def _apart(sides: np.ndarray) -> np.ndarray:
    """Both directions of probabilities (2, N); one where a posterior is one of the similarity alone, of any anchor."""
    return sides[:1] if np.allclose(sides[0], sides[1], rtol=1e-4, atol=1e-7) else sides


def sampled(view: SplitView, truth: Truth) -> Iterator[tuple[str, Sample]]:
    """The pairs of a split that are scored, by the source of their truth.

    ``exact`` and ``equal_captions``: all pairs of up to :data:`IMAGES` random images with a random caption each;
    ``judged``: the judged pairs that are not of one image.
    """
    owner = np.asarray(view.caption_image)
    images = len(view.image_ids)
    first, count = np.searchsorted(owner, np.arange(images)), np.bincount(owner, minlength=images)
    if truth.kind == "judged":
        yield from _annotated(truth, owner, first, images)
        return
    draw = numpy_stream(0, "calibration", view.name)
    image = np.sort(draw.permutation(images)[:IMAGES])
    caption = first[image] + (draw.random(len(image)) * count[image]).astype(np.int64)
    others = ~np.eye(len(image), dtype=bool)
    yield truth.kind, Sample(image, caption, others, truth.contains(image[:, None], caption[None, :]) & others)


def _annotated(truth: Truth, owner: np.ndarray, first: np.ndarray, images: int) -> Iterator[tuple[str, Sample]]:
    """The judged pairs in layers, each with one caption of every image."""
    pairs, verdict = truth.extra["judged_pairs"].astype(np.int64), truth.extra["judged_positive"] > 0
    other = pairs[:, 0] != owner[pairs[:, 1]]
    pairs, verdict = pairs[other], verdict[other]
    number = pairs[:, 1] - first[owner[pairs[:, 1]]]
    layer = np.zeros(len(pairs), np.int64)
    for image in np.unique(owner[pairs[:, 1]]):
        rows = owner[pairs[:, 1]] == image
        layer[rows] = np.unique(number[rows], return_inverse=True)[1]
    for at in range(int(layer.max(initial=-1)) + 1):
        rows = layer == at
        caption = first.copy()
        caption[owner[pairs[rows, 1]]] = pairs[rows, 1]
        counted, positive = np.zeros((images, images), bool), np.zeros((images, images), bool)
        counted[pairs[rows, 0], owner[pairs[rows, 1]]] = True
        positive[pairs[rows, 0], owner[pairs[rows, 1]]] = verdict[rows]
        yield "judged", Sample(np.arange(images), caption, counted, positive)


def val_batches(view: SplitView, image: Tensor, text: Tensor, size: int) -> Iterator[Tensor]:
    """Similarities (B, B) of :data:`BATCHES` random batches of validation pairs; no image stands twice in one."""
    owner = np.asarray(view.caption_image)
    images = len(view.image_ids)
    first, count = np.searchsorted(owner, np.arange(images)), np.bincount(owner, minlength=images)
    draw = numpy_stream(0, "calibration", "batches")
    for _ in range(BATCHES):
        chosen = draw.permutation(images)[:size]
        caption = first[chosen] + (draw.random(len(chosen)) * count[chosen]).astype(np.int64)
        rows = [torch.as_tensor(side, device=image.device) for side in (chosen, caption)]
        yield image[rows[0]] @ text[rows[1]].T
