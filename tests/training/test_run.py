"""A training job on disk: what it writes, how it resumes after a signal, whether its picks tell the truth."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fne.data.manifest import Manifest
from fne.evaluation.ranking import validation_recalls
from fne.steps import train as job
from fne.study import paths
from fne.study.api import Study, load_study
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from fne.utils.files import read_json
from tests.training import project


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("world")
    return root, project.make(root)


@pytest.fixture(scope="module")
def finished(world) -> Path:
    root, study = world
    job.run(study, "fne", "0-1", root, 1, "cpu")
    return root / paths.run_folder(study, "fne", "0-1")


def test_a_job_writes_everything_and_leaves_no_checkpoint(world, finished) -> None:
    root, study = world
    assert {path.name for path in finished.iterdir()} == {*paths.TRAINED}
    assert not (root / paths.scratch_folder(study, "fne", "0-1")).exists()
    record = read_json(finished / "run.json")
    assert record["seeds"] == [0, 1] and record["config"]["negatives"]["strategy"] == "fne"
    curves = pd.read_parquet(finished / "curves.parquet")
    assert [*zip(curves.seed, curves.epoch, strict=True)] == [(s, e) for s in (0, 1) for e in (0, 1, 2)]
    main = curves[curves.phase == "main"]
    best = main.loc[main.groupby("seed").val_rsum.idxmax(), "epoch"].tolist()
    assert [chosen["epoch"] for chosen in record["selection"]["per_seed"]] == best
    for entry in read_json(finished / "distributions.json"):
        assert sum(entry["positives"]) == 32 * 64 and sum(entry["hard_negatives"]) == 2 * 32 * 64
        total = sum(sum(entry[kind]) for kind in ("false_negatives", "all_negatives"))
        assert 32 * 64 * 60 < total < 32 * 64 * 64


SIGNALLED = """
import os, sys
from pathlib import Path
from fne.steps import train as job
from fne.study.api import load_study
from fne.training import checkpoint
from fne.training.engine import Engine
root, number, at = Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
made, step, save = 0, Engine._step, checkpoint.save
def counted(self, *inputs):
    global made
    step(self, *inputs)
    made += 1
    if made == at:
        os.kill(os.getpid(), number)
def said(engine, *where):
    save(engine, *where)
    print("saved", engine.seeds[0], engine.step, flush=True)
Engine._step, checkpoint.save = counted, said
if sys.argv[6] == "apart":
    job.PAIRS_TOGETHER = 0
study = load_study("smoke", {"data.prevalence": 0.02}, root)
job.run(study, sys.argv[2], "0-1", root, 1, "cpu", checkpoint_every=int(sys.argv[5]))
print("made", made)
"""


TRIAL = 2 * 2 * 3
"""Steps that find out whether two seeds together equal each alone: two of the warm-up and two of the main phase."""


@pytest.mark.parametrize(
    ("variant", "seeds", "at", "number", "every", "status", "saved", "left"),
    [
        ("fne", "apart", 18 + 5, signal.SIGTERM, 10**6, 143, ["0 18", "1 5"], 13),
        ("fne", "apart", 18 + 5, signal.SIGUSR1, 10**6, 0, ["0 18", "1 5", "1 18"], None),
        ("infonce", "apart", 18 + 5, signal.SIGKILL, 9, -9, ["0 9", "0 18"], 18),
        ("fne", "together", TRIAL + 5, signal.SIGTERM, 10**6, 143, ["0 5"], TRIAL + 13),
    ],
)
def test_a_signal_at_a_step_saves_a_checkpoint_from_which_a_rerun_is_bit_equal(
    world, tmp_path, variant, seeds, at, number, every, status, saved, left
) -> None:
    """At the fifth step, of the second seed where they train apart: the first, which is finished, trains no more.

    The run that both are set against trains its seeds together.
    """
    root, study = world
    job.run(study, variant, "0-1", root, 1, "cpu")
    whole, folder = root / paths.run_folder(study, variant, "0-1"), tmp_path / paths.run_folder(study, variant, "0-1")
    for name in ("resources", "ablations"):
        (tmp_path / name).symlink_to(root / name)

    def run(number: int, at: int) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", SIGNALLED, str(tmp_path), variant, str(number), str(at), str(every), seeds]
        return subprocess.run(command, cwd=project.REPOSITORY, capture_output=True, text=True, timeout=120, check=False)

    done = run(number, at)
    assert done.returncode == status, done.stderr
    assert [line.removeprefix("saved ") for line in done.stdout.splitlines() if line.startswith("saved")] == saved
    if left is not None:
        assert not folder.exists()
        assert done.stderr.count("stopped by SIGTERM after step 5 of 18") == (number == signal.SIGTERM)
        assert "Traceback" not in done.stderr
        again = run(0, -1)
        assert again.stdout.splitlines()[-1] == f"made {left}"
    for name in ("weights.safetensors", "picks.npz"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_embeddings_of_a_split_are_the_selected_ones(world, finished) -> None:
    root, study = world
    owner = Manifest.load(root / paths.data_folder(study)).split("val").caption_image
    selected = {item["seed"]: item["val_rsum"] for item in read_json(finished / "run.json")["selection"]["per_seed"]}
    result = {seed: validation_recalls(image, text, owner)["rsum"]
              for seed, image, text in embed_split(study, "fne", "0-1", "val", root)}  # fmt: skip
    assert result == pytest.approx(selected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "damage", "saying"),
    [
        (
            "run.json",
            lambda content: re.sub(rb'("features.text": )"\w+"', rb'\1"0"', content),
            "other data or features",
        ),
        ("weights.safetensors", lambda content: content[: len(content) // 2], "weights.safetensors"),
    ],
)
def test_results_on_other_features_and_damaged_weights_are_refused(world, finished, name, damage, saying) -> None:
    root, study = world
    content = (finished / name).read_bytes()
    try:
        (finished / name).write_bytes(damage(content))
        with pytest.raises(UserError, match=saying):
            next(iter(embed_split(study, "fne", "0-1", "val", root)))
    finally:
        (finished / name).write_bytes(content)


def test_a_batch_larger_than_an_epoch_is_refused(world) -> None:
    study = load_study("smoke", project.OVERRIDES | {"train.batch_size": 401}, world[0])
    with pytest.raises(UserError, match="train.batch_size: .* 400 pairs; got 401"):
        job.run(study, "fne", "0", world[0], 1, "cpu")


def test_a_job_that_cannot_write_leaves_nothing(world, monkeypatch) -> None:
    root, study = world

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        job.run(study, "hardest_in_batch", "0", root, 1, "cpu")
    folder = root / paths.run_folder(study, "hardest_in_batch", "0")
    assert not folder.exists() and not list(folder.parent.glob(".*"))
    assert list((root / paths.scratch_folder(study, "hardest_in_batch", "0")).glob("*/checkpoint.safetensors"))
