"""A job of the regime ``finetune`` on disk: what it writes, exact resume, several processes, and what is refused."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fne.steps import train as job
from fne.study import paths
from fne.study.api import resolve
from fne.training import checkpoint
from fne.training.embed import embed_split
from fne.training.engine import Engine
from fne.training.pairs import open_corpus
from fne.utils.errors import UserError
from fne.utils.files import read_json
from tests.training import toy
from tests.training.finetune.conftest import engine_of
from tests.training.toy import CPU


def test_a_job_writes_what_ranking_reads(project, load) -> None:
    study = load()
    job.run(study, "fne", "0", project, 1, "cpu")
    folder = project / paths.run_folder(study, "fne", "0")
    record = read_json(folder / "run.json")
    assert record["config"]["regime"] == "finetune" and record["processes"] == 1
    assert set(record["fingerprints"]) == {"data.image", "data.text", "encoder.image", "encoder.text"}
    with open(folder / "curves.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["phase"] for row in rows] == ["warmup", "main", "main"]
    tensors = load_file(folder / "weights.safetensors")
    assert all(value.shape[0] == 1 for value in tensors.values())
    ((seed, image, text),) = embed_split(study, "fne", "0", "val", project)
    assert seed == 0 and image.shape == (24, 16) and text.shape == (120, 16)
    torch.testing.assert_close(image.norm(dim=-1), torch.ones(24))
    from fne.steps import rank

    rank.run(study, "fne", "0", "test", project, 1, "cpu")
    assert (project / paths.rankings(study, "fne", "0", "test")).is_file()


def test_the_selected_weights_are_those_of_the_best_validation(project, load) -> None:
    from fne.evaluation.ranking import validation_recalls

    study = load(train__validations=2)
    engine = engine_of(study, "hardest_in_batch", project)
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


def test_the_guide_judges_plain_pictures_with_the_weights_of_the_warmups_end(project, load) -> None:
    engine, at_end = engine_of(load(), "gist", project), {}

    def after(score: float | None) -> None:
        if engine.step == engine.steps:
            at_end.update({name: value.clone() for name, value in engine.model.state_dict().items()})

    engine.run(after)
    moved = [name for name, value in engine.model.state_dict().items() if not torch.equal(value, at_end[name])]
    assert moved and all(torch.equal(engine.state()[f"guide/{name}"], value) for name, value in at_end.items())
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
from fne.study.api import load_study
from fne.utils.yaml_file import parse_set
from fne.training.distributed import World, joined
from fne.steps import train as job
root = Path(sys.argv[1])
study = load_study("tiny", parse_set(sys.argv[4:]), root)
torch.set_num_threads(1)
with joined("cpu"):
    if sys.argv[3] == "memory":
        from fne.training import engine
        last = {}
        original = engine.Engine._step
        def step(self, *a, **k):
            original(self, *a, **k)
            last.update({n: v.contiguous().clone() for n, v in self.memory.state().items()})
        engine.Engine._step = step
    job.run(study, sys.argv[2], "0", root, 1, "cpu")
    if sys.argv[3] == "memory":
        from safetensors.torch import save_file
        save_file(last, root / f"memory.{World.here().rank}.safetensors")
"""


def launch(root: Path, processes: int, variant: str, what: str, *overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = root / "worker.py"
    script.write_text(WORKER)
    repository = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [*command, str(script), str(root), variant, what, *overrides],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("variant", ["fne", "hardest_bank"])
def test_two_processes_equal_one_with_the_same_global_batch(project, load, tmp_path, variant) -> None:
    """Gloo on two CPU processes: weights within rounding, the same picks, the same memory on every rank."""
    study = load(finetune__chunk=8)
    folder = project / paths.run_folder(study, variant, "0")
    job.run(study, variant, "0", project, 1, "cpu")
    alone = load_file(folder / "weights.safetensors")
    picks = dict(np.load(folder / "picks.npz"))
    done = launch(project, 2, variant, "memory", "finetune.chunk=8")
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(folder / "run.json")["processes"] == 2
    for name, value in load_file(folder / "weights.safetensors").items():
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-4, msg=name)
    together = np.load(folder / "picks.npz")
    for name in ("anchor", "candidate", "step", "false_negative", "from_queue"):
        np.testing.assert_array_equal(together[name], picks[name])
    memories = [load_file(project / f"memory.{rank}.safetensors") for rank in (0, 1)]
    assert memories[0]
    for name, value in memories[0].items():
        assert torch.equal(value, memories[1][name]), name


@pytest.mark.parametrize(
    ("now", "told"),
    [({"regime": "finetune", "processes": 1}, "processes 2, now 1"),
     ({"regime": "head", "processes": 2}, "regime 'finetune', now 'head'")],
)  # fmt: skip
def test_a_checkpoint_of_another_number_of_processes_or_regime_is_set_aside(
    project, load, tmp_path, capsys, now, told
) -> None:
    engine = engine_of(load(), "fne", project)
    checkpoint.save(engine, tmp_path, {"regime": "finetune", "processes": 2})
    assert checkpoint.load(engine, tmp_path, now) is False
    assert told in capsys.readouterr().err and (tmp_path / checkpoint.ASIDE).exists()


def test_what_does_not_fit_is_said_before_any_step(project, load) -> None:
    with pytest.raises(UserError, match="finetune.chunk.*5.*a part of 16"):
        engine_of(load(finetune__chunk=5), "fne", project)
    with pytest.raises(UserError, match="gradient_checkpointing"):
        study = load(**{
            "finetune__gradient_checkpointing": True,
            "encoders__image__checkpoint": str(project / "checkpoints" / "resnet"),
            "finetune__projection": "linear",
        })  # fmt: skip
        engine_of(study, "fne", project)
    with pytest.raises(UserError, match="finetune.projection.*share no space.*12 and 16"):
        resnet = str(project / "checkpoints" / "resnet")
        engine_of(load(encoders__image__checkpoint=resnet), "fne", project)
    with pytest.raises(UserError, match="one seed at a time"):
        study = load()
        config = resolve(study, "fne")
        train, val, _ = open_corpus(study, project).training(config, CPU)
        Engine(config, [0, 1], train, val, CPU)
