"""Runs of older code stand on where the code of now was shown to give the same weights, and only there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fne import cli
from fne.results.code import Code
from fne.results.current import outdated, recorded_code, stands
from fne.study import paths
from fne.study.api import blocks, digest, resolve
from tests.projects import Project

OLD = "0" * 12
REASON = "a loop was written as one product"


def write_runs(project: Project, root: Path, code: str | None = None) -> list[Path]:
    """A ``run.json`` and weights of every job of `smoke`, trained by some code, or by that of now."""
    study, files = project.load("smoke"), []
    for variant in study.variants:
        config = resolve(study, variant)
        for block in blocks(study):
            folder = root / paths.run_folder(study, variant, block)
            folder.mkdir(parents=True)
            run = {"schema": 1, "title": variant, "seeds": [0, 1], "config": config, "digest": digest(config),
                   "selection": {"rule": "best", "per_seed": [{"seed": 0, "epoch": 1}, {"seed": 1, "epoch": 1}]},
                   "code": code or Code(project.root).training(config), "fingerprints": {"data.image": "a"},
                   "cost": {"seconds_total": 1.0, "steps": 1, "seconds_per_step": 1.0}, "record": {}}  # fmt: skip
            (folder / "run.json").write_text(json.dumps(run))
            (folder / "weights.safetensors").write_bytes(f"weights of {variant}".encode())
            files.append(folder / "run.json")
    return files


@pytest.fixture
def here(tmp_path: Path) -> Project:
    """A project whose runs were trained by older code."""
    project = Project(tmp_path / "here")
    write_runs(project, project.root, OLD)
    return project


@pytest.fixture
def there(here: Project, tmp_path: Path) -> Path:
    """Another one, whose runs the code of now trained."""
    write_runs(here, tmp_path / "there")
    return tmp_path / "there"


def adopt(project: Project, evidence: Path, *more: str) -> int:
    given = ["--evidence", str(evidence), "--reason", REASON, *more]
    return cli.main(["adopt", "--study", "smoke", "--root", str(project.root), *given])


def states(project: Project) -> dict[str, bool]:
    """Whether the runs of a variant stand."""
    study = project.load("smoke")
    return {
        variant: not any(item.startswith(f"{variant}/") for item in outdated(study, project.root, Code(project.root)))
        for variant in study.variants
    }


def test_runs_with_the_same_weights_stand_and_say_why(
    here: Project, there: Path, capsys: pytest.CaptureFixture
) -> None:
    files = sorted((here.root / "results").rglob("run.json"))
    times = [os.stat(file).st_mtime_ns for file in files]
    assert not any(states(here).values())
    assert adopt(here, there) == 0
    assert all(states(here).values())
    assert f"{len(files)} runs of study smoke hold under the present code" in capsys.readouterr().out
    for file, time in zip(files, times, strict=True):
        run = json.loads(file.read_text())
        (entry,) = run["adopted"]
        assert (
            run["code"] == OLD
            and entry["reason"] == REASON
            and f"{file.parts[-3]}/{file.parts[-2]}" in entry["shown_by"]
        )
        assert os.stat(file).st_mtime_ns == time, "nothing that was made from it is made again"
        assert recorded_code(file, entry["code"]) == OLD and recorded_code(file, "1" * 12) == "1" * 12
        assert stands(run, entry["code"]) and not stands(run, "1" * 12)
    assert adopt(here, there) == 0 and "0 runs" in capsys.readouterr().out


def test_runs_that_are_named_stand_with_those_that_were_shown(here: Project, there: Path) -> None:
    shutil.rmtree(there / "results/smoke/fne")
    assert adopt(here, there) == 0
    assert {variant for variant, stand in states(here).items() if not stand} == {"fne"}
    assert adopt(here, there, "--variant", "fne") == 0
    assert all(states(here).values())


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        run = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(run | changes))

    return edit


@pytest.mark.parametrize(("edit", "saying"), [
    (lambda folder: (folder / "weights.safetensors").write_bytes(b"w"), "other weights than its counterpart; the edit"),
    (edited(code="1" * 12), "code: trained by other code; got '111111111111'"),
    (edited(fingerprints={"data.image": "b"}), "fingerprints: trained on other data or features"),
    (edited(config={"train": {}, "evaluation": {}}), "config: trained under another config"),
    (edited(schema=7), "schema: another schema; got 7"),
])  # fmt: skip
def test_evidence_that_shows_nothing_adopts_nothing(
    here: Project, there: Path, edit: Callable[[Path], None], saying: str, capsys: pytest.CaptureFixture
) -> None:
    (folder,) = (there / "results/smoke/fne").iterdir()
    edit(folder)
    assert adopt(here, there) == 2
    assert saying in capsys.readouterr().err
    assert not any(states(here).values()), "not those of other variants either"


@pytest.mark.parametrize(("more", "saying"), [
    (["--variant", "fnee"], "did you mean 'fne'"), (["--reason", " "], "--reason: is empty"),
    (["--evidence", "nowhere"], "holds no run of this study"),
])  # fmt: skip
def test_wrong_arguments(
    here: Project, there: Path, more: list[str], saying: str, capsys: pytest.CaptureFixture
) -> None:
    assert adopt(here, there, *more) == 2 and saying in capsys.readouterr().err
