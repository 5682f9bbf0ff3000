"""``job``: train, rank, evaluate and calibrate one block of seeds in one process, which opens the data once."""

from __future__ import annotations

import shutil
from pathlib import Path

from fne.results.calibration_tables import estimates
from fne.results.collect import SPLIT
from fne.steps import calibrate, evaluate, rank, train
from fne.study import paths
from fne.study.api import Study, resolve
from fne.training.distributed import World, leave
from fne.training.pairs import open_corpus, torch_device


def run(study: Study, variant: str, block: str, root: Path, threads: int, device: str) -> None:
    """Make all files of a run that the single verbs make, with the same content.

    Until all are made the state of training stays in ``scratch/``: a job that is killed while it ranks trains nothing
    again. Of a variant that estimates no false negatives ``calibration.npz`` has no rows.

    Args:
        study, variant, block: The job.
        root: The project's folder.
        threads: CPU threads of torch.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: As the single steps.
    """
    corpus = open_corpus(study, root, workers=threads if torch_device(device).type == "cuda" else 0)
    train.run(study, variant, block, root, threads, device, corpus=corpus, keep_state=True)
    first = World.here().rank == 0
    leave()
    if not first:
        return
    rank.run(study, variant, block, SPLIT, root, threads, device, corpus)
    evaluate.run(study, variant, block, SPLIT, root)
    if estimates(resolve(study, variant)):
        calibrate.run(study, variant, block, root, threads, device, corpus)
    else:
        calibrate.write_none(study, variant, block, root)
    shutil.rmtree(root / paths.scratch_folder(study, variant, block), ignore_errors=True)
