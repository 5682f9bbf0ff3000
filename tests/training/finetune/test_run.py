"""A job of the regime ``finetune`` on disk: what it writes, exact resume, several processes, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fne.evaluation.ranking import validation_recalls
from fne.steps import rank
from fne.steps import train as job
from fne.study import paths
from fne.training import checkpoint
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from fne.utils.files import read_json
from tests.training import toy
from tests.training.finetune.conftest import ROOT, engine_of


def test_a_job_writes_what_ranking_reads(project, load) -> None:
    study = load()
    job.run(study, "fne", "0", project, 1, "cpu")
    folder = project / paths.run_folder(study, "fne", "0")
    record = read_json(folder / "run.json")
    assert record["config"]["regime"] == "finetune" and record["processes"] == 1
    assert set(record["fingerprints"]) == {"data.image", "data.text", "encoder.image", "encoder.text"}
    assert pd.read_parquet(folder / "curves.parquet").phase.tolist() == ["warmup", "main", "main"]
    ((seed, image, text),) = embed_split(study, "fne", "0", "val", project)
    assert seed == 0 and image.shape == (24, 16) and text.shape == (120, 16)
    torch.testing.assert_close(image.norm(dim=-1), torch.ones(24))
    rank.run(study, "fne", "0", "test", project, 1, "cpu")
    assert (project / paths.rankings(study, "fne", "0", "test")).is_file()


def test_the_selected_weights_are_those_of_the_best_validation(project, load) -> None:
    engine = engine_of(load(train__validations=2), "hardest_in_batch", project)
    scores = []
    engine.run(lambda score: scores.append(score) if score is not None else None)
    assert len(scores) == 6
    assert float(engine.best_score[0]) == max(scores[2:])  # the first epoch is warm-up and selects nothing
    engine.model.load_state_dict(engine.best)
    image, text = engine.learner.embed_split(engine.val)
    assert validation_recalls(image[0], text[0], engine.val.caption_image)["rsum"] == pytest.approx(max(scores[2:]))


@pytest.mark.parametrize("variant", ["fne", "infonce", "gist", "hardest_xbm", "hardest_bank"])
def test_resume_at_any_step_is_bit_equal(project, load, tmp_path, variant) -> None:
    """Dropout and augmentation included: both draw from streams that are named by the step."""
    study = load(finetune__chunk=8)
    toy.assert_resumes(lambda: engine_of(study, variant, project), (3, 4, 7), tmp_path)


def test_the_guide_embeds_plain_images_with_the_weights_of_the_warmups_end(project, load) -> None:
    at_end = toy.run(engine_of(load(), "gist", project), 4).model.state_dict()
    engine = toy.run(engine_of(load(), "gist", project))
    assert any(not torch.equal(value, at_end[name]) for name, value in engine.model.state_dict().items())
    assert all(torch.equal(engine.state()[f"guide/{name}"], value) for name, value in at_end.items())
    engine.model.load_state_dict(at_end)
    rows = torch.tensor([[5, 0, 33, 60]])
    captions = engine.train.first_caption[rows] + 2
    image, text = engine.learner.embed_rows(rows, captions)
    torch.testing.assert_close(engine.guide.image[:, rows[0]], image, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(engine.guide.text[:, captions[0]], text, atol=1e-5, rtol=1e-4)


WORKER = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from fne.steps import train as job
from fne.study.api import load_study
from fne.training.distributed import World, joined
from fne.training.engine import Engine
root, last, original = Path(sys.argv[1]), {}, Engine._step
def step(self, *inputs):
    original(self, *inputs)
    last.update({n: v.contiguous().clone() for n, v in self.memory.state().items()})
Engine._step = step
torch.set_num_threads(1)
with joined("cpu"):
    job.run(load_study("tiny", {"finetune.chunk": 8}, root), sys.argv[2], "0", root, 1, "cpu")
    save_file(last, root / f"memory.{World.here().rank}.safetensors")
"""


@pytest.mark.parametrize("variant", ["fne", "hardest_bank"])
def test_two_processes_equal_one_with_the_same_global_batch(project, load, variant) -> None:
    """Gloo on two CPU processes: weights within rounding, the same picks, the same memory on every rank."""
    study = load(finetune__chunk=8)
    folder = project / paths.run_folder(study, variant, "0")
    job.run(study, variant, "0", project, 1, "cpu")
    alone, picks = load_file(folder / "weights.safetensors"), dict(np.load(folder / "picks.npz"))
    (project / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(project / "worker.py"), str(project), variant]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(folder / "run.json")["processes"] == 2
    for name, value in load_file(folder / "weights.safetensors").items():
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-4, msg=name)
    together = np.load(folder / "picks.npz")
    for name in ("anchor", "candidate", "step", "false_negative", "from_queue"):
        np.testing.assert_array_equal(together[name], picks[name])
    first, second = (load_file(project / f"memory.{rank}.safetensors") for rank in (0, 1))
    assert first and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(("now", "saying"), [({"processes": 1}, "processes 2, now 1"), ({"regime": "head"}, "'head'")])
def test_a_checkpoint_of_another_number_of_processes_or_regime_is_set_aside(
    project, load, tmp_path, capsys, now, saying
) -> None:
    engine, then = engine_of(load(), "fne", project), {"regime": "finetune", "processes": 2}
    checkpoint.save(engine, tmp_path, then)
    assert checkpoint.load(engine, tmp_path, then | now) is False
    assert saying in capsys.readouterr().err and (tmp_path / checkpoint.ASIDE).exists()


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"finetune__chunk": 5}, "finetune.chunk.*5.*16"),
        ({"image": "resnet", "finetune__projection": "linear", "finetune__gradient_checkpointing": True},
         "gradient_checkpointing"),
        ({"image": "resnet"}, "finetune.projection.*12 and 16"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_reported_before_any_step(project, load, changes, saying) -> None:
    changes = dict(changes)
    if family := changes.pop("image", None):
        changes["encoders__image__checkpoint"] = str(project / "checkpoints" / family)
    with pytest.raises(UserError, match=saying):
        engine_of(load(**changes), "fne", project)


def test_one_seed_at_a_time(project, load) -> None:
    with pytest.raises(UserError, match="one seed at a time"):
        engine_of(load(), "fne", project, seeds=[0, 1])
