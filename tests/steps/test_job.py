"""One job a run: what the single steps make, the data opened once, and a finished run that is not trained again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fne.data.manifest import Manifest
from fne.data.truth import Truth
from fne.encoders.store import Features
from fne.results import current
from fne.results.code import Code
from fne.steps import calibrate, evaluate, job, rank, train
from fne.study import paths
from fne.study.api import Study
from fne.utils.errors import UserError
from fne.utils.files import locked, read_json
from tests.training import project

RUN = ("fne", "0-1")
TIMES = {"record", "cost"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("job")
    return root, project.make(root)


@pytest.fixture(scope="module")
def made(world: tuple[Path, Study]) -> dict[str, object]:
    """What the single steps make."""
    root, study = world
    train.run(study, *RUN, root, 1, "cpu")
    rank.run(study, *RUN, "test", root, 1, "cpu")
    evaluate.run(study, *RUN, "test", root)
    calibrate.run(study, *RUN, root, 1, "cpu")
    return content(root / paths.run_folder(study, *RUN))


def content(folder: Path) -> dict[str, object]:
    """What the files of a run hold, times left out."""
    result: dict[str, object] = {}
    for file in folder.iterdir():
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                result[file.name] = {name: arrays[name].tobytes() for name in arrays.files if name != "meta"}
        elif file.suffix == ".json" and file.name not in ("digests.json", "distributions.json"):
            result[file.name] = {key: value for key, value in read_json(file).items() if key not in TIMES}
        elif not file.name.startswith(("curves.", "digests.")) and not file.name.startswith("readings"):
            result[file.name] = file.read_bytes()
        else:
            result[file.name] = None
    return result


def test_a_job_makes_what_the_steps_make_and_opens_the_data_once(
    world: tuple[Path, Study], made: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, study = world
    opened = []
    for kind, name in ((Manifest, "load"), (Features, "open"), (Truth, "load")):
        load = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *args, load=load, **named: (opened.append(1), load(*args, **named))[1])
    job.run(study, *RUN, root, 1, "cpu")
    assert content(root / paths.run_folder(study, *RUN)) == made and len(opened) == 3 + len(paths.SPLITS)
    assert not (root / paths.scratch_folder(study, *RUN)).exists()


def test_a_run_that_was_set_aside_is_taken_back_where_it_is_current_and_trained_where_not(
    world: tuple[Path, Study], made: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, study = world
    folder = root / paths.run_folder(study, *RUN)
    assert not current.set_aside(study, "infonce", "0-1", root, Code(root)), "it was never trained"
    assert current.set_aside(study, *RUN, root, Code(root))
    for name in paths.TRAINED:
        (folder / name).unlink()  # as Snakemake does before a job
    monkeypatch.setattr(train, "_train", None)
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(rank, "run", None)  # a job that fails when it has trained
        job.run(study, *RUN, root, 1, "cpu")
    for name in paths.TRAINED:
        (folder / name).unlink()
    train.run(study, *RUN, root, 1, "cpu")
    assert content(folder) == made and not (root / paths.scratch_folder(study, *RUN)).exists()
    assert current.set_aside(study, *RUN, root, Code(root))
    monkeypatch.setattr(Code, "training", lambda self, config: "another")
    with pytest.raises(TypeError):  # it begins to train
        train.run(study, *RUN, root, 1, "cpu")


def test_a_lock_that_another_holds_is_one_clear_error(tmp_path: Path) -> None:
    with locked(tmp_path / "a/0-1"), pytest.raises(UserError, match=r"0-1: another process trains this run now"):
        with locked(tmp_path / "a/0-1", "another process trains this run now"):
            pass
