"""Embeddings of a split under the selected weights of a finished training job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from fne.study import paths
from fne.study.api import Study, parse_block, resolve
from fne.training.pairs import Corpus, open_corpus, torch_device
from fne.utils.errors import bad_input
from fne.utils.files import read_json

if TYPE_CHECKING:
    from fne.training.finetune.dataset import PixelCorpus


def embed_split(
    study: Study,
    variant: str,
    block: str,
    split: str,
    root: Path,
    device: str = "cpu",
    workers: int = 0,
    corpus: Corpus | PixelCorpus | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (seed, images (N, D), captions (M, D)) for every replicate that has selected weights.

    Args:
        study, variant, block: A finished training job.
        split: ``train``, ``val`` or ``test``.
        root: The project's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Processes that decode images, where an encoder reads them.
        corpus: The data, where it is open.

    Raises:
        UserError: The job's results are missing, damaged, or were trained on other data or features.
    """
    folder, where = root / paths.run_folder(study, variant, block), torch_device(device)
    corpus, config = corpus or open_corpus(study, root, workers), resolve(study, variant)
    finished = read_json(folder / "run.json")
    for key, value in corpus.fingerprints.items():
        if finished["fingerprints"].get(key) != value:
            raise bad_input(
                "trained on other data or features",
                file=folder / "run.json",
                key=f"fingerprints.{key}",
                value=finished["fingerprints"].get(key),
                allowed=[value],
                hint="train it again",
            )
    found = corpus.embeddings(config, folder / "weights.safetensors", parse_block(block), split, where)
    for (image, text), selected in zip(found, finished["selection"]["per_seed"], strict=True):
        if selected["epoch"] >= 0:
            yield selected["seed"], image, text
