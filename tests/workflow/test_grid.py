"""Grids: the cost of the graph of jobs, and a study's variants dealt to several calls."""

from __future__ import annotations

import time

import pytest

from fne.utils.digests import YOUNG
from tests.snakemake_project import ROOT, Job, Project

SWEEP = """title: Margins
question: Which margin?
parent: fne
sweep: {{loss.margin: {margins}}}
isolates: [loss.margin]
role: nuisance
"""
COUNTED = """
import cProfile, sys
from snakemake.cli import main
sys.argv, profile = ["snakemake", *sys.argv[1:]], cProfile.Profile()
try:
    profile.runcall(main)
except SystemExit as end:
    assert not end.code
print("CALLS", sum(entry.callcount for entry in profile.getstats()))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.copy_of(ROOT, tmp_path_factory.mktemp("grid") / "project")


def calls(project: Project, variants: int) -> int:
    """How many functions a dry run of so many variants calls, however long they take."""
    margins = [round(0.3 + place / 1000, 3) for place in range(variants)]
    (project.folder / "ablations/variants/margins.yaml").write_text(SWEEP.format(margins=margins))
    options = ("study=smoke", "variants=hardest_in_batch,margins", "seeds=0-3")
    done = project.run("python", "-c", COUNTED, "--dry-run", "--quiet", "--cores", "1", "--config", *options)
    assert "CALLS" in done.stdout, done.stdout + done.stderr
    return int(done.stdout.split("CALLS")[1].split()[0])


def test_the_graph_of_a_grid_costs_in_proportion_to_its_variants(project: Project) -> None:
    time.sleep(YOUNG)  # of what is that young nothing is remembered
    calls(project, 20)  # from here on digests of code are
    few, more, many = (calls(project, variants) for variants in (20, 40, 80))
    assert many - more < 2.2 * (more - few)


def runs(jobs: list[Job]) -> set[tuple[str, ...]]:
    return {tuple(job.wildcards.values()) for job in jobs if job.rule == "run"}


def test_calls_share_a_study(project: Project) -> None:
    whole = project.planned("--config", "study=smoke")
    parts = [project.planned("--config", "study=smoke", f"shard={part}/2") for part in (1, 2)]
    assert runs(whole) == runs(parts[0]) | runs(parts[1]) and not runs(parts[0]) & runs(parts[1])
    assert not [job.rule for part in parts for job in part if job.rule in ("aggregate", "make_report")]
    for part in (1, 2):
        project.finish("--config", "study=smoke", f"shard={part}/2")
    joined = project.planned("--config", "study=smoke")
    assert not runs(joined) and "aggregate" in {job.rule for job in joined}


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1/4", "1", "a/b", "1.5/2"])
def test_a_part_that_is_none_is_refused(project: Project, shard: str) -> None:
    project.refused("--config", "study=smoke", f"shard={shard}", saying=["--config: shard", "K/N"])
