"""Which code a result depends on: an edit counts for the variants that run it, and for nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fne.results.code import EXTRACT, PREPARE, PRETRAIN, Code
from fne.study.api import load_study, resolve
from fne.utils import definitions as module
from tests.plugin_files import STRATEGY, clean_path, place
from tests.projects import ROOT, Project
from tests.rules import LOSSES

__all__ = ["clean_path"]
STUDIES = ("paper", "literature")
CONFIGS = {
    variant: resolve(study, variant)
    for study in (load_study(name, root=ROOT) for name in STUDIES)
    for variant in study.variants
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's source that a test may edit; digests are of this copy."""
    shutil.copytree(ROOT / "fne", tmp_path / "fne", ignore=shutil.ignore_patterns("*.safetensors", "*.npy", "*.pyc"))
    monkeypatch.setattr(module, "PACKAGES", tmp_path)
    return tmp_path / "fne"


def digests(package: Path) -> dict[str, str]:
    sources = Code(package.parent)
    return {variant: sources.training(config) for variant, config in CONFIGS.items()}


def replaced(package: Path, name: str, old: str, new: str) -> None:
    file = package / name
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new, 1))


def using(key: str, *values: str) -> set[str]:
    section, _, option = key.partition(".")
    return {variant for variant, config in CONFIGS.items() if config[section].get(option) in values}


WITH_WARMUP = {variant for variant, config in CONFIGS.items() if config["warmup"]["epochs"]}
EVERY = set(CONFIGS)


@pytest.mark.parametrize(("name", "old", "new", "changed"), [
    ("losses/infonce.py", "softplus(both)", "2 * softplus(both)", using("loss.kind", "infonce")),
    ("losses/triplet.py", "return ", "return 0 + ", using("loss.kind", "triplet") | WITH_WARMUP),
    ("negatives/simans.py", "return ", "return 0 + ", using("negatives.strategy", "simans")),
    ("negatives/fne.py", "draw(weights, uniform)", "draw(weights, 1 - uniform)", using("negatives.strategy", "fne")),
    ("negatives/memory/xbm.py", "return ", "return 0 + ", using("memory.kind", "xbm")),
    ("negatives/memory/kind.py", "EMPTY, RANDOM = -1, -2", "EMPTY, RANDOM = -2, -1", EVERY),
    ("training/engine.py", "self.step += 1", "self.step += 2", EVERY),
    ("utils/seeding.py", "return ", "return 0 + ", EVERY),
    ("evaluation/ranking.py", "def validation_recalls(", "def validation_recalls(extra, ", EVERY),
    ("evaluation/ranking.py", "def count_ranks(", "def count_ranks(extra, ", set()),
    ("data/readers.py", "return ", "return 0 + ", set()),
    ("negatives/catalog.py", '"relabel"', '"other"', set()),
    ("negatives/simans.py", 'name = "simans"', 'name = "sim_ans"', set()),
    ("protocols.py", "return ", "return 0 + ", set()),
])  # fmt: skip
def test_an_edit_changes_the_digests_of_the_variants_that_run_it(
    package: Path, name: str, old: str, new: str, changed: set[str]
) -> None:
    before = digests(package)
    replaced(package, name, old, new)
    after = digests(package)
    assert {variant for variant in before if before[variant] != after[variant]} == changed


@pytest.mark.parametrize("edit", [
    lambda package: replaced(package, "losses/infonce.py", '"""', '"""Edited. '),
    lambda package: replaced(package, "training/engine.py", "self.step += 1", "self.step += 1  # a step"),
    lambda package: replaced(package, "training/calibration.py", "bad_input(problem", 'bad_input(f"No: {problem}"'),
])  # fmt: skip
def test_words_annotations_and_moves_change_nothing(package: Path, edit: Callable[[Path], None]) -> None:
    before = digests(package)
    edit(package)
    assert digests(package) == before


def test_a_loss_may_move_to_another_module(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(package)
    shutil.move(package / "losses/infonce.py", package / "losses/contrastive.py")
    for name, entry in LOSSES.items():
        target = entry.target.replace("fne.losses.infonce:", "fne.losses.contrastive:")
        monkeypatch.setitem(LOSSES, name, replace(entry, target=target))
    assert digests(package) == before


@pytest.mark.parametrize(("roots", "name", "old", "new"), [
    (PREPARE["scenes"], "scenes/render.py", "canvas, 0, 255", "canvas, 0, 254"),
    (PREPARE["corpus"], "data/tabular.py", "return ", "return 0 + "),
    (PRETRAIN, "scenes/pretrain_text.py", "return ", "return 0 + "),
    (EXTRACT, "encoders/pooling.py", "return ", "return 0 + "),
])  # fmt: skip
def test_what_comes_before_training_has_digests_of_its_own(
    package: Path, roots: tuple[str, ...], name: str, old: str, new: str
) -> None:
    every = (PREPARE["scenes"], PREPARE["corpus"], PRETRAIN, EXTRACT)
    before = {item: Code(package.parent).of(item) for item in every}
    assert len({*before.values()}) == 4
    replaced(package, name, old, new)
    assert Code(package.parent).of(roots) != before[roots]


@pytest.mark.usefixtures("clean_path")
def test_a_plugin_counts_with_the_modules_of_ones_own_that_it_imports(project: Project, tmp_path: Path) -> None:
    deep = place(project.root, "SIGN = 1.0\n")
    helper = place(project.root, f"import {deep}\n\ndef sign():\n    return {deep}.SIGN\n")
    text = STRATEGY.replace("self.sharpness * similarities", f"{helper}.sign() * self.sharpness * similarities")
    rule = place(project.root, f"import json\nimport {helper}\n{text}")
    unused = place(project.root, "SIGN = 1.0\n")
    project.variant(
        "own", {"negatives.strategy": f"{rule}:SoftHard"}, ["negatives.strategy"], parent="hardest_in_batch"
    )
    project.edit("studies/smoke", variants=["hardest_in_batch", "fne", "own"])

    def digest(variant: str = "own") -> str:
        return Code(project.root).training(resolve(project.load("smoke"), variant))

    before, other = digest(), digest("fne")
    place(project.root, "SIGN = 2.0\n", unused)
    place(project.root, "# A comment.\nSIGN = 1.0\n", deep)
    assert digest() == before
    for name, content in ((deep, "SIGN = -1.0\n"), (helper, f"import {deep}\n\ndef sign():\n    return 1\n")):
        place(project.root, content, name)
        assert digest() != before
        before = digest()
    assert digest("fne") == other


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")
