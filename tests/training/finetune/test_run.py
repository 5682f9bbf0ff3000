"""A job of the regime ``finetune`` on disk: what it writes, exact resume, several processes, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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


HOOK = """
import os
if "LOCAL_RANK" in os.environ:
    import atexit
    from safetensors.torch import save_file
    from fne.training.engine import Engine
    rank, last, original = int(os.environ["RANK"]), {}, Engine._step
    who, at, number = map(int, os.environ["HOOK_SIGNAL"].split())
    def step(self, *inputs):
        original(self, *inputs)
        if (rank, self.step) == (who, at):
            open(f"{os.environ['HOOK_FOLDER']}/signalled", "w").close()
            os.kill(os.getpid(), number)
        last.update({n: v.contiguous().clone() for n, v in self.memory.state().items()})
    Engine._step = step
    atexit.register(lambda: save_file(last, f"{os.environ['HOOK_FOLDER']}/memory.{rank}.safetensors"))
"""
"""Imported by every process: a rank may send itself a signal after a step, and says what its memory holds."""
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "1", "--nnodes", "2", "--no-python")


def together(
    project: Path,
    variant: str,
    *before: str,
    nodes: int = 1,
    options: Sequence[str] = (),
    signalled: str = "-1 -1 0",
    verb: str = "train",
) -> list[subprocess.CompletedProcess]:
    """Train the tiny study in two processes, on one node or on what pretends to be two.

    Args:
        project, variant: What to train.
        before: Arguments of Python before ``fne``'s; for torchrun.
        nodes: 1 or 2.
        options: Of the verb.
        signalled: Rank, step after which it sends itself a signal, and its number.
        verb: ``train`` or ``job``.
    """
    (project / "sitecustomize.py").write_text(HOOK)
    words = [*(before or ("-m", "fne")), verb, "--root", str(project), "--study", "tiny", "--variant", variant,
             "--block", "0", "--threads", "1", "--device", "cpu", "--set", "finetune.chunk=8", "--replace",
             *options]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}", "HOOK_SIGNAL": signalled,
                   "HOOK_FOLDER": str(project)}  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    where = [environment | meeting | {"RANK": str(node)} for node in range(2)] if nodes == 2 else [environment]
    started = []
    for variables in where:
        command = [word.format(**variables) for word in (sys.executable, *words)]
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    said = [process.communicate(timeout=280) for process in started]
    return [subprocess.CompletedProcess(p.args, p.returncode, *words) for p, words in zip(started, said, strict=True)]


@pytest.mark.parametrize(
    ("variant", "before", "nodes", "options"),
    [
        ("hardest_bank", (), 1, ("--processes", "2")),
        ("gist", (), 2, ("--nodes", "2")),
        ("fne", (*TORCHRUN, "--node-rank", "{RANK}", "--master-addr", "{MASTER_ADDR}", "--master-port",
                 "{MASTER_PORT}", str(Path(sys.executable).parent / "fne")), 2, ()),
    ],
)  # fmt: skip
def test_two_processes_equal_one_with_the_same_global_batch(project, load, variant, before, nodes, options) -> None:
    """Gloo, on one node or on two: weights within rounding, the same picks, the same memory on every rank."""
    study = load(finetune__chunk=8)
    folder = project / paths.run_folder(study, variant, "0")
    job.run(study, variant, "0", project, 1, "cpu")
    alone, picks = load_file(folder / "weights.safetensors"), dict(np.load(folder / "picks.npz"))
    curves = pd.read_parquet(folder / "curves.parquet").drop(columns="seconds")
    verb = "job" if "--processes" in options else "train"
    for done in together(project, variant, *before, nodes=nodes, options=options, verb=verb):
        assert done.returncode == 0, done.stderr[-2000:]
    assert verb == "train" or {"metrics.test.json", "calibration.npz"} <= {file.name for file in folder.iterdir()}
    assert read_json(folder / "run.json")["processes"] == 2
    for name, value in load_file(folder / "weights.safetensors").items():
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-4, msg=name)
    together_picks = np.load(folder / "picks.npz")
    for name in ("anchor", "candidate", "step", "false_negative", "from_queue"):
        np.testing.assert_array_equal(together_picks[name], picks[name])
    np.testing.assert_allclose(together_picks["posterior"], picks["posterior"], rtol=1e-3, atol=1e-4)
    now = pd.read_parquet(folder / "curves.parquet").drop(columns="seconds")
    pd.testing.assert_frame_equal(now, curves, rtol=1e-3, atol=1e-4)
    first, second = (load_file(project / f"memory.{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.timeout(900)  # four times a start of two processes
def test_a_rank_that_is_stopped_or_killed_ends_all_and_a_rerun_is_bit_equal(project, load) -> None:
    folder = project / paths.run_folder(load(), "fne", "0")
    two = ("--processes", "2")
    (whole,) = together(project, "fne", options=two)
    assert whole.returncode == 0, whole.stderr
    weights, picks = ((folder / name).read_bytes() for name in ("weights.safetensors", "picks.npz"))
    shutil.rmtree(folder)
    (stopped,) = together(project, "fne", options=two, signalled=f"1 4 {signal.SIGTERM}")
    assert stopped.returncode == 143 and "Traceback" not in stopped.stderr
    assert stopped.stderr.count("stopped by SIGTERM after step 5 of") == stopped.stderr.count("\n") == 1
    (killed,) = together(project, "fne", options=two, signalled=f"1 7 {signal.SIGKILL}")
    assert killed.returncode == 2 and killed.stderr.count("\n") == 1
    assert time.time() - (project / "signalled").stat().st_mtime < 60
    assert re.match(r"error: rank 1 of 2 \(process \d+\) was killed by SIGKILL", killed.stderr)
    (rest,) = together(project, "fne", options=two)
    assert rest.returncode == 0, rest.stderr
    assert weights == (folder / "weights.safetensors").read_bytes() and picks == (folder / "picks.npz").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--processes", "3"), "train.batch_size.*16.*multiple of 3"), (("--nodes", "2"), "which node this is")],
)
def test_what_processes_cannot_share_is_refused_before_they_start(project, options, words) -> None:
    (done,) = together(project, "fne", options=options)
    assert done.returncode == 2 and re.search(words, done.stderr) and done.stderr.count("\n") == 1


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
