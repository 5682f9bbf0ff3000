"""A training job on disk: what it writes, how it resumes after SIGKILL, whether its picks tell the truth."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fne.data.manifest import Manifest
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
    names = {"weights.safetensors", "curves.csv", "audit.csv", "picks.npz", "distributions.json", "digests.json",
             "run.json"}  # fmt: skip
    assert {path.name for path in finished.iterdir()} == names
    assert not (root / paths.scratch_folder(study, "fne", "0-1")).exists()
    record = read_json(finished / "run.json")
    assert record["seeds"] == [0, 1] and record["config"]["negatives"]["strategy"] == "fne"
    assert [chosen["seed"] for chosen in record["selection"]["per_seed"]] == [0, 1]
    with open(finished / "curves.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["seed"], row["epoch"]) for row in rows] == [(s, e) for s in "01" for e in "012"]
    for chosen in record["selection"]["per_seed"]:
        best = max(
            (row for row in rows if row["seed"] == str(chosen["seed"]) and row["phase"] == "main"),
            key=lambda row: float(row["val_rsum"]),
        )
        assert int(best["epoch"]) == chosen["epoch"]
    distributions = read_json(finished / "distributions.json")
    for seed, entry in enumerate(distributions):
        assert entry["seed"] == seed
        assert sum(entry["positives"]) == 32 * 64 and sum(entry["hard_negatives"]) == 2 * 32 * 64
        total = sum(sum(entry[kind]) for kind in ("false_negatives", "all_negatives"))
        assert 32 * 64 * 60 < total < 32 * 64 * 64


@pytest.mark.parametrize("variant", ["fne", "infonce"])
def test_sigkill_at_a_random_step_and_resume_is_bit_equal(world, variant, tmp_path) -> None:
    root, study = world
    job.run(study, variant, "0-1", root, 1, "cpu")
    expected = (root / paths.run_folder(study, variant, "0-1") / "weights.safetensors").read_bytes()
    picks = (root / paths.run_folder(study, variant, "0-1") / "picks.npz").read_bytes()
    other = tmp_path / "killed"
    (other / "resources").parent.mkdir(parents=True)
    os.symlink(root / "resources", other / "resources")
    os.symlink(root / "ablations", other / "ablations")
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from fne.study.api import load_study\nfrom fne.steps import train as run\nfrom fne.training import engine\n"
        "slow = engine.Engine._step\n"
        "def step(self, *a, **k):\n    slow(self, *a, **k); time.sleep(0.05)\n"
        "engine.Engine._step = step\nroot = Path(sys.argv[1])\n"
        f"study = load_study('smoke', {project.OVERRIDES}, root)\n"
        f"run.run(study, '{variant}', '0-1', root, 1, 'cpu', checkpoint_every=2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(other)], cwd=project.REPOSITORY, stderr=subprocess.PIPE)
    scratch = other / paths.scratch_folder(study, variant, "0-1")
    deadline = time.monotonic() + 120
    while process.poll() is None and not list(scratch.glob("*/checkpoint.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(float(np.random.default_rng().uniform(0, 1.2)))
    assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[1].decode()}"
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = other / paths.run_folder(study, variant, "0-1")
    assert not folder.exists()
    assert list(scratch.glob("*/checkpoint.safetensors"))
    job.run(load_study("smoke", project.OVERRIDES, other), variant, "0-1", other, 1, "cpu")
    assert (folder / "weights.safetensors").read_bytes() == expected
    assert (folder / "picks.npz").read_bytes() == picks


def test_embeddings_of_a_split_are_the_selected_ones(world, finished) -> None:
    from fne.evaluation.ranking import validation_recalls

    root, study = world
    split = Manifest.load(root / paths.data_folder(study)).split("val")
    chosen = read_json(finished / "run.json")["selection"]["per_seed"]
    seeds = []
    for entry, (seed, image, text) in zip(chosen, embed_split(study, "fne", "0-1", "val", root), strict=True):
        seeds.append(seed)
        assert validation_recalls(image, text, split.caption_image)["rsum"] == pytest.approx(
            entry["val_rsum"], abs=1e-6
        )
    assert seeds == [0, 1]


def test_results_on_other_features_are_refused(world, finished, tmp_path) -> None:
    root, study = world
    record = finished / "run.json"
    text = record.read_text()
    try:
        record.write_text(text.replace(read_json(record)["fingerprints"]["features.text"], "0" * 64))
        with pytest.raises(UserError, match="trained on other data or features"):
            next(iter(embed_split(study, "fne", "0-1", "val", root)))
    finally:
        record.write_text(text)


def test_damaged_weights_are_one_clear_error(world, finished) -> None:
    root, study = world
    path = finished / "weights.safetensors"
    content = path.read_bytes()
    try:
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="not a readable weights file"):
            next(iter(embed_split(study, "fne", "0-1", "val", root)))
    finally:
        path.write_bytes(content)


def test_a_job_that_cannot_write_leaves_nothing(world, monkeypatch) -> None:
    root, study = world

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        job.run(study, "hardest_in_batch", "0", root, 1, "cpu")
    folder = root / paths.run_folder(study, "hardest_in_batch", "0")
    assert not folder.exists()
    assert not [path for path in folder.parent.glob(".*")]
    assert list((root / paths.scratch_folder(study, "hardest_in_batch", "0")).glob("*/checkpoint.safetensors"))
