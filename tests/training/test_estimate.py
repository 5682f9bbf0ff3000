"""What a study will cost: arithmetic on measured steps; measuring changes no run and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fne.data.manifest import Manifest
from fne.steps import estimate
from fne.steps import train as job
from fne.steps.estimate import Measured, measure
from fne.study import paths
from fne.study.api import Study, load_study
from fne.training.engine import Engine
from fne.utils.errors import UserError
from tests.training import project as heads
from tests.training.finetune.conftest import load, project  # noqa: F401 - fixtures of the regime finetune


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("world")
    return root, heads.make(root)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which a step of the warm-up takes 0.25 s, of the main phase 0.5 s, with more for what is trained, and
    a validation 2 s."""
    now = [0.0]

    def spend(name: str, seconds: Any) -> None:
        original = getattr(Engine, name)

        def spent(*given: Any) -> Any:
            now[0] += seconds(*given)
            return original(*given)

        monkeypatch.setattr(Engine, name, spent)

    def step(engine: Engine, inputs: Any, batch: Any, moment: Any, epoch: int) -> float:
        return (0.5 if moment.main else 0.25) + sum(p.requires_grad for p in engine.model.parameters()) / 16

    spend("_step", step)
    spend("_validate", lambda *given: 2.0)
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now[0])


def files(root: Path) -> dict[str, int]:
    """Everything below a folder but the cache, with the time a file was last changed."""
    made = (path for path in root.rglob("*") if ".fne" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.is_file() and path.stat().st_mtime_ns for path in made}


def test_seconds_of_each_phase_and_of_a_validation_by_a_known_clock(world, clock) -> None:
    root, study = world
    m = measure(study, "fne", root, 1, "cpu")
    (warm, first), (main, later) = m.phases
    assert (warm, main, later - first, m.validation, m.seeds) == (1, 2, 0.25, 2.0, 2)
    trial = 3 * 2 * (first + later)  # two steps of each phase, of both seeds together and of each of them
    assert m.seconds == trial + m.steps * (first + 2 * later) + m.validations * 2.0


def test_frozen_epochs_are_a_phase_of_their_own(project, load, clock) -> None:  # noqa: F811
    study = load(train__epochs=4, warmup__epochs=2, finetune__frozen_epochs=1, train__validations=2)
    m = measure(study, "fne", project, 1, "cpu")
    (one, frozen), (two, warm), (three, main) = m.phases
    assert (one, two, three, m.validations) == (1, 1, 2, 8) and frozen < warm < main


def test_a_table_adds_up_the_jobs() -> None:
    m = Measured(1, 60.0, 10, ((2, 5.0), (3, 7.0)), 5, 20.0, 79_900_000_000)
    assert m.seconds == 60 + 10 * (2 * 5 + 3 * 7) + 5 * 20
    shown = estimate.table({"fne": m, "random": m}, [3, 2], "cpu", 4).splitlines()
    assert shown[1].split() == ["fne", "7", "20", "0:23:30", "2", f"{5 * 470 / 3600:.3g}", "79.9", "GB"]
    assert shown[3].split() == ["all", "4", f"{10 * 470 / 3600:.3g}"]


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
        measure(study, variant, root, 1, "cpu")
    assert files(root) == before
    monkeypatch.undo()
    job.run(study, "fne", "0", root, 1, "cpu")
    assert weights.read_bytes() == expected


def test_the_verb_prints_a_line_a_variant_and_leaves_nothing(world, capsys) -> None:
    root, _ = world
    study = load_study("smoke", heads.OVERRIDES | {"variants": ["hardest_in_batch", "fne"], "seeds": [0, 1]}, root)
    before = files(root)
    result = estimate.run(study, root, 1, "cpu")
    assert files(root) == before and all(100e6 < m.memory < 10e9 and m.seconds > 0 for m in result.values())
    shown = capsys.readouterr()
    assert "2/2 variants" in shown.err
    assert [line.split()[0] for line in shown.out.splitlines()[1:4]] == ["hardest_in_batch", "fne", "all"]


def test_what_must_be_run_first_is_said_before_any_work(world, tmp_path, project, load) -> None:  # noqa: F811
    root, study = world
    estimate.check_ready(study, root)
    drawn = load_study("smoke", heads.OVERRIDES | {"encoders.draw": 1}, root)
    with pytest.raises(UserError) as caught:
        estimate.run(drawn, tmp_path, 1, "cpu")
    for verb in ("prepare", "pretrain --modality image", "extract --modality image", "extract --modality text"):
        assert f"`fne {verb} --study smoke --set" in str(caught.value)
    whole = load()
    estimate.check_ready(whole, project)  # whole encoders train on images: no features are read
    with pytest.raises(UserError, match="run first: `fne prepare --study tiny`$"):
        estimate.check_ready(whole, tmp_path)


@pytest.mark.gpu
def test_on_a_gpu_the_seeds_of_a_block_are_measured_together(world) -> None:
    root, study = world
    m = measure(study, "fne", root, 1, "cuda")
    assert m.seeds == 2 and 0 < m.memory < 1e9


def test_a_process_that_is_killed_is_one_clear_error(world, monkeypatch) -> None:
    root, study = world
    monkeypatch.setattr(estimate, "measure", kill)
    with pytest.raises(UserError, match="smoke/hardest_in_batch: the process that measured it was killed"):
        estimate.run(study, root, 1, "cpu")


def kill(*given: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
