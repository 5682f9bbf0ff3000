"""Made-up studies, written and reported once for all tests of this folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fne.report.figures import registry as figures
from fne.report.notebook import load
from fne.report.tables import registry as tables
from fne.results.study import StudyResults
from fne.results.variance import FILE as VARIANCE
from fne.steps import audit, report
from fne.study.api import Study, load_study
from tests.report.synthetic import HOSTILE, HOSTILE_CAPTION, HOSTILE_NAME, PAPER, WARMUP, write_search, write_study

BY_ID = {fake.id: fake for fake in PAPER}
SMALL = tuple(BY_ID[name] for name in ("hardest_in_batch", "fne", "infonce"))


@dataclass(frozen=True)
class Made:
    """A made-up study that was reported."""

    study: Study
    root: Path
    results: StudyResults

    @property
    def reports(self) -> Path:
        return self.root / "reports" / self.study.name

    def page(self) -> str:
        return (self.reports / "report.html").read_text(encoding="utf-8")


def build(study: Study, root: Path) -> Made:
    """Run all steps behind the comparison, as Snakemake does."""
    audit.run(study, root)
    tables.run(study, root)
    figures.run(study, root)
    report.run(study, root)
    return Made(study, root, load(study, root))


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Made:
    """The study ``paper`` as the repository states it, but for the warm-ups: ten variants, five seeds, one missing."""
    folder = tmp_path_factory.mktemp("paper")
    shutil.copytree(root / "ablations", folder / "ablations")
    (folder / VARIANCE).unlink(missing_ok=True)  # no interval here is widened, whatever was measured
    tuned = folder / "ablations/tuned/literature.yaml"
    tuned.write_text(re.sub(r"(warmup\.epochs): \d+(?=[,}])", rf"\1: {WARMUP}", tuned.read_text("utf-8")), "utf-8")
    study = load_study("paper", root=folder)
    write_study(folder, study=study, missing=(("hardest_buffer", 3, "train", "out of memory"),))
    return build(study, folder)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Titles and captions that are code in HTML, Markdown, LaTeX, mathtext; one variant without a run."""
    folder = tmp_path_factory.mktemp("hostile")
    fakes = tuple(replace(fake, title=f"{HOSTILE} {fake.id}") for fake in SMALL)
    missing = tuple(("infonce", seed, "train", HOSTILE) for seed in (0, 1))
    made = write_study(folder, fakes=fakes, seeds=(0, 1), missing=missing, caption=HOSTILE_CAPTION, odd=HOSTILE_NAME)
    return build(made, folder)


@pytest.fixture(scope="session")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One variant, one seed, nothing known about false negatives, and no prepared data."""
    folder = tmp_path_factory.mktemp("lonely")
    made = write_study(folder, fakes=SMALL[:1], seeds=(7,), name="lonely", resources=False, truth_known=False)
    return build(made, folder)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four variants that were tuned; one takes over the values of another."""
    folder = tmp_path_factory.mktemp("searched")
    made = write_study(folder, fakes=(*SMALL, BY_ID["random"]), seeds=(0, 1, 2), name="searched")
    return build(write_search(folder, made, {"random": "hardest_in_batch"}), folder)
