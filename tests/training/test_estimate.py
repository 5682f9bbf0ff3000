"""What a study will cost: arithmetic on measured steps, equal to a run by the same clock; nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fne.data.manifest import Manifest
from fne.steps import estimate, rank
from fne.steps import train as job
from fne.steps.estimate import Estimate, job_seconds, training_seconds, wall_seconds
from fne.steps.timing import Measured, Phase, measure
from fne.study import paths
from fne.study.api import Study, load_study
from fne.training import checkpoint, distributions
from fne.training.data import EpochPlan
from fne.training.engine import Engine
from fne.training.step import Moment
from fne.utils.errors import UserError
from fne.utils.files import read_json
from tests.projects import checkpoint as checkpoint_folder
from tests.training import project as heads
from tests.training.finetune.conftest import load, project  # noqa: F401 - fixtures of the regime finetune

NEVER = 10**9
"""Steps between checkpoints other than the last, which on a slow machine would be written by its own clock."""
PHASES = (Phase(2, 5.0, 1.0), Phase(3, 7.0, 2.0))
KNOWN = Measured(
    together=1, start=3.0, once=0.5, build=4.0, steps=10, phases=PHASES, validations=5, validation=(20.0, 6.0),
    checkpoint=1.0, end=11.0, rank=13.0, host=1000, device=0, resident=100, weights=50, picks=7, ranks=3, scratch=80,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("world")
    return root, heads.make(root)


class Clock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock by which every part of a run takes a known time, whatever the machine does."""
    made = Clock()

    def spend(owner: Any, name: str, seconds: Any) -> None:
        original = getattr(owner, name)

        def spent(*given: Any, **named: Any) -> Any:
            made.seconds += seconds(*given, **named)
            return original(*given, **named)

        monkeypatch.setattr(owner, name, spent)

    def step(engine: Engine, inputs: Any, batch: Any, moment: Moment, epoch: int) -> float:
        trained = sum(p.requires_grad for p in engine.model.parameters())
        return (0.5 if moment.main else 0.25) + trained / 16

    spend(Engine, "__init__", lambda *given: 4.0)
    spend(Engine, "_step", step)
    spend(Engine, "_validate", lambda *given: 2.0)
    spend(checkpoint, "save", lambda *given: 2.0)
    spend(EpochPlan, "draw", lambda *given: 0.125)
    spend(distributions, "same_image", lambda *given: 0.0625)  # once a batch
    return made


def files(root: Path) -> dict[str, int]:
    """Everything below a folder, with the time a file was last changed."""
    return {str(path.relative_to(root)): path.is_file() and path.stat().st_mtime_ns for path in root.rglob("*")}


def by_hand(m: Measured) -> float:
    """Training of one engine, second by second, checkpoints written as :mod:`fne.steps.train` writes them."""
    seconds = 0.0
    for number, phase in enumerate(m.phases):
        for epoch in range(phase.epochs):
            for at in range(m.steps):
                seconds += phase.first if at == 0 else phase.step
            first = number == 0 and epoch == 0
            for _ in range(m.validations // sum(p.epochs for p in m.phases)):
                seconds += m.validation[0] if first else m.validation[1]
                first = False
    interval = max(30.0, 50 * m.checkpoint)
    written, since = 0, interval
    while since <= seconds:
        written, since = written + 1, since + interval
    return seconds + (written + 1) * m.checkpoint


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("validations", [5, 10])
def test_an_estimate_is_plain_arithmetic_on_step_times(checkpoint_seconds: float, validations: int) -> None:
    m = replace(KNOWN, checkpoint=checkpoint_seconds, validations=validations)
    assert training_seconds(m) == by_hand(m)
    start, build = 3.0, 4.0
    alone = build + by_hand(m) + 11.0
    assert job_seconds(m, 1, 1) == start + 0.5 + alone + start + build + 13.0
    assert job_seconds(m, 3, 3) == start + 0.5 + 3 * alone + start + build + 3 * 13.0
    assert job_seconds(m, 1, 3) == start + 0.5 + alone + start + build + 3 * 13.0


def test_memory_and_disk_of_a_block() -> None:
    """Engines of a block train one after the other and stay in memory, and so do their checkpoints on the disk."""
    cpu = Estimate.of("fne", KNOWN, [3, 2])
    assert (cpu.memory, cpu.device_memory, cpu.disk, cpu.scratch) == (1000 + 2 * 100, 0, 5 * 60, 3 * 80)
    assert cpu.jobs == (job_seconds(KNOWN, 3, 3), job_seconds(KNOWN, 2, 2))
    gpu = Estimate.of("fne", replace(KNOWN, device=500), [3, 2])
    assert (gpu.memory, gpu.device_memory) == (1000, 500 + 2 * 100)
    heads_on_gpu = Estimate.of("fne", replace(KNOWN, device=500, together=3), [3, 2])
    assert (heads_on_gpu.device_memory, heads_on_gpu.scratch, heads_on_gpu.disk) == (500, 80, 5 * 60)
    assert heads_on_gpu.jobs == (job_seconds(KNOWN, 1, 3), job_seconds(KNOWN, 1, 2))


def test_wall_time_of_jobs_side_by_side() -> None:
    assert wall_seconds([3, 3, 2, 2, 2], 2) == 7  # longest first: 3 + 2 + 2 beside 3 + 2
    rng = np.random.default_rng(0)
    for _ in range(50):
        jobs = rng.integers(1, 100, size=rng.integers(1, 12)).tolist()
        assert wall_seconds(jobs, 1) == sum(jobs)
        assert wall_seconds(jobs, len(jobs)) == wall_seconds(jobs, 99) == max(jobs)
        places = int(rng.integers(1, 5))
        least = max(max(jobs), sum(jobs) / places)
        assert least <= wall_seconds(jobs, places) <= least * (4 / 3) + max(jobs) / 3  # Graham 1969


def test_heads_an_estimate_equals_the_run_by_the_same_clock(world, clock) -> None:
    root, study = world
    for variant in ("fne", "infonce"):
        m = measure(study, variant, root, 1, "cpu", clock, 8.0)
        assert (m.start, m.once, m.build, m.rank) == (8.0, 0.0, 4.0, 2.0)
        trained = m.phases[0].step - 0.25
        assert m.phases == (Phase(1, 0.375 + trained, 0.25 + trained), Phase(2, 0.625 + trained, 0.5 + trained))
        assert (m.validation, m.checkpoint, m.end) == ((2.0, 2.0), 2.0, 32 * 0.0625)
        began = clock()
        job.run(study, variant, "0-1", root, 1, "cpu", NEVER)
        ranking = 8.0 + 4.0 + 2 * 2.0
        assert job_seconds(m, 2, 2) - 8.0 - ranking == clock() - began


def test_finetune_an_estimate_equals_the_run_by_the_same_clock(project, load, clock) -> None:  # noqa: F811
    study = load(train__epochs=4, warmup__epochs=2, finetune__frozen_epochs=1, train__validations=2)
    m = measure(study, "fne", project, 1, "cpu", clock, 8.0)
    frozen, warm, main = m.phases
    assert [phase.epochs for phase in m.phases] == [1, 1, 2]
    assert frozen.step < warm.step < main.step, "frozen backbones, then all of them, then the main phase"
    assert m.validations == 8
    began = clock()
    job.run(study, "fne", "0", project, 1, "cpu", NEVER)
    assert m.build + training_seconds(m) + m.end == clock() - began


def test_disk_is_within_a_quarter_of_what_a_run_writes(world) -> None:
    root, study = world
    job.run(study, "fne", "0-1", root, 1, "cpu")
    rank.run(study, "fne", "0-1", "test", root, 1, "cpu")
    folder = root / paths.run_folder(study, "fne", "0-1")
    written = sum(path.stat().st_size for path in folder.iterdir())
    result = Estimate.of("fne", measure(study, "fne", root, 1, "cpu", Clock(), 0.0), [2])
    assert 0.75 * written < result.disk < 1.25 * written


def test_measuring_changes_no_run_reads_no_test_item_and_leaves_nothing(world, monkeypatch) -> None:
    root, study = world
    weights = root / paths.run_folder(study, "fne", "0") / "weights.safetensors"
    job.run(study, "fne", "0", root, 1, "cpu")
    before, expected = files(root), weights.read_bytes()
    for name in ("split", "truth"):
        original = getattr(Manifest, name)

        def guarded(self: Manifest, split: str, original: Any = original) -> Any:
            assert split != "test"
            return original(self, split)

        monkeypatch.setattr(Manifest, name, guarded)
    for variant in study.variants:
        measure(study, variant, root, 1, "cpu", Clock(), 0.0)
    assert files(root) == before
    monkeypatch.undo()
    job.run(study, "fne", "0", root, 1, "cpu")
    assert weights.read_bytes() == expected


def test_the_verb_prints_a_table_and_leaves_nothing(world, capsys, tmp_path) -> None:
    root, _ = world
    study = load_study("smoke", heads.OVERRIDES | {"variants": ["hardest_in_batch", "fne"], "seeds": [0, 1, 2]}, root)
    before = files(root)
    result = estimate.run(study, root, 1, "cpu", 2, tmp_path / "estimate.json")
    assert files(root) == before
    summary = read_json(tmp_path / "estimate.json")
    jobs = [seconds for variant in summary["variants"] for seconds in variant["jobs"]]
    assert len(jobs) == 4 and [v["variant"] for v in summary["variants"]] == list(study.variants)
    assert summary["seconds"] == pytest.approx(sum(jobs)) and summary["wall_seconds"] == wall_seconds(jobs, 2)
    assert all(100e6 < e.memory < 10e9 and e.device_memory == 0 for e in result)
    shown = capsys.readouterr()
    assert "2/2 variants" in shown.err
    *lines, wall, _ = (line for line in shown.out.splitlines() if "machine was busy" not in line)
    head, *rows, blank = lines
    assert "core-hours" in head and [row.split()[0] for row in rows] == ["hardest_in_batch", "fne", "all"]
    assert blank == "" and "2 side by side" in wall and len({len(row) for row in [head, *rows]}) == 1


def test_hours_are_those_of_the_cores_or_of_the_gpus() -> None:
    study = load_study("smoke", {"variants": ["fne"], "baseline": "fne"}, heads.REPOSITORY)
    m = replace(KNOWN, start=1800.0)
    hours = sum(Estimate.of("fne", m, [2]).jobs) / 3600
    cpu = estimate.table(study, [Estimate.of("fne", m, [2])], 4, "cpu", 1)
    assert f" {4 * hours:.3g} " in cpu and "core-hours" in cpu and "GPU" not in cpu
    busy = estimate.table(study, [Estimate.of("fne", m, [2])], 4, "cpu", 1, load=999.0)
    assert busy.startswith(cpu) and "machine was busy (load 999.0" in busy.removeprefix(cpu)
    gpu = estimate.table(study, [Estimate.of("fne", replace(m, device=79_900_000_000), [2])], 4, "cuda", 1)
    assert f" {hours:.3g} " in gpu and "GPU-hours" in gpu and "GPU memory" in gpu and "79.9 GB" in gpu


def test_what_must_be_run_first_is_said_before_any_work(world, tmp_path, project, load) -> None:  # noqa: F811
    root, study = world
    estimate.check_ready(study, root)  # features are there: nobody asks for the encoders that made them
    drawn = load_study("smoke", heads.OVERRIDES | {"encoders.draw": 1}, root)
    with pytest.raises(UserError) as caught:
        estimate.run(drawn, tmp_path, 1, "cpu", 1)
    words = str(caught.value)
    order = ["prepare", "pretrain --modality image", "extract --modality image", "pretrain --modality text"]
    assert all(f"`fne {verb} --study smoke --set" in words for verb in [*order, "extract --modality text"]), words
    assert [words.index(f"`fne {verb} ") for verb in order] == sorted(words.index(f"`fne {verb} ") for verb in order)
    given = {f"encoders.{side}.checkpoint": str(checkpoint_folder(tmp_path / side)) for side in paths.MODALITIES}
    other = load_study("smoke", heads.OVERRIDES | given, root)
    with pytest.raises(UserError, match="run first: `fne extract --modality image .*, `fne extract --modality text"):
        estimate.check_ready(other, root)
    whole = load()
    estimate.check_ready(whole, project)  # whole encoders train on pictures: no features are asked for
    with pytest.raises(UserError, match="run first: `fne prepare --study tiny`$"):
        estimate.check_ready(whole, tmp_path)


@pytest.mark.gpu
def test_on_a_gpu_the_seeds_of_a_block_are_measured_together(world) -> None:
    root, study = world
    m = measure(study, "fne", root, 1, "cuda", time.monotonic, 0.0)
    assert m.together == 2 and 0 < m.device < 1e9
    item = Estimate.of("fne", m, [2])
    assert item.device_memory == m.device and item.scratch == m.scratch


def test_a_batch_larger_than_an_epoch_is_refused(world) -> None:
    root, _ = world
    study = load_study("smoke", heads.OVERRIDES | {"train.batch_size": 401}, root)
    for refused in (lambda: measure(study, "fne", root, 1, "cpu", Clock(), 0.0),
                    lambda: job.run(study, "fne", "0", root, 1, "cpu")):  # fmt: skip
        with pytest.raises(UserError, match="train.batch_size: .* 400 pairs; got 401; allowed: 1 to 400"):
            refused()


def test_a_process_that_is_killed_is_one_clear_error(world, monkeypatch) -> None:
    root, study = world
    monkeypatch.setattr(estimate, "launch_seconds", lambda *given: 0.0)
    monkeypatch.setattr(estimate, "measure", kill)
    with pytest.raises(UserError, match="smoke/hardest_in_batch: the process that measured it was killed"):
        estimate.run(study, root, 1, "cpu", 1)


def kill(*given: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
