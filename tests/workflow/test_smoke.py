"""The whole path, really run: `snakemake --cores 2 smoke` in a fresh copy of the project."""

from __future__ import annotations

import csv

import pytest

from fne.study import paths
from fne.study.api import blocks, load_study
from tests import shared_runs
from tests.snakemake_project import Project


def test_it_ends_with_the_report_and_says_where(smoke: Project) -> None:
    page = (smoke.folder / "reports/smoke/report.html").read_text()
    assert "The report of study smoke: reports/smoke/report.html" in shared_runs.said_by(smoke)
    lines = shared_runs.said_by(smoke).splitlines()
    assert any(line.startswith("13/13 jobs · 6/6 training runs · in ") for line in lines), "one line, not every job"
    assert not [line for line in lines if line.startswith(("rule ", "Finished jobid"))]
    assert "</html>" in page
    assert 'src="http' not in page and "url(http" not in page, "it works offline"


def test_run_again_it_does_nothing(smoke: Project) -> None:
    done = smoke.snakemake("--cores", "1", "--dry-run", "smoke")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_every_run_has_a_number_and_none_is_missing(smoke: Project) -> None:
    study = load_study("smoke", root=smoke.folder)
    with open(smoke.folder / "results/smoke/runs.csv") as handle:
        rows = [row for row in csv.DictReader(handle) if row["metric"] == "rsum" and row["protocol"] == "own"]
    assert {(row["variant"], int(row["seed"])) for row in rows} == {
        (variant, seed) for variant in study.variants for seed in study.seeds
    }
    assert all(0 < float(row["value"]) < 6 for row in rows)
    assert (smoke.folder / "results/smoke/missing.csv").read_text().count("\n") == 1


def test_every_job_left_a_log_and_a_benchmark_and_no_scratch(smoke: Project) -> None:
    study = load_study("smoke", root=smoke.folder)
    for variant in study.variants:
        for block in blocks(study):
            assert (smoke.folder / f"benchmarks/smoke/run/{variant}.{block}.tsv").stat().st_size > 0
            assert (smoke.folder / f"logs/smoke/run/{variant}.{block}.log").exists()
            assert not (smoke.folder / paths.scratch_folder(study, variant, block)).exists()
    left = [path for path in smoke.folder.rglob("*.tmp*") if ".snakemake" not in path.parts]
    assert left == [], "temporary files are renamed or removed"


@pytest.fixture
def project(smoke: Project, tmp_path) -> Project:
    return Project.copy_of(smoke.folder, tmp_path / "project", made=True)


def test_a_report_of_partial_results_names_what_is_missing(project: Project) -> None:
    (project.folder / "results/smoke/fne/0-1/metrics.test.json").unlink()
    for verb in ("aggregate", "compare", "audit", "tables", "figures", "report"):
        done = project.run("fne", verb, "--study", "smoke")
        assert done.returncode == 0, f"{verb}: {done.stderr}"
    with open(project.folder / "results/smoke/missing.csv") as handle:
        missing = {(row["variant"], row["seed"]) for row in csv.DictReader(handle)}
    assert missing == {("fne", "0"), ("fne", "1")}


def test_a_failed_job_shows_its_error_and_leaves_no_output(project: Project) -> None:
    manifest = next((project.folder / "resources").glob("*/features/image-*/values.bin"))
    manifest.write_bytes(manifest.read_bytes()[:-1])
    done = project.snakemake("--cores", "1", "--forcerun", "run", "--", "results/smoke/fne/0-1/run.json")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "error: " in said and "values.bin" in said, "the job's own message is printed"
    assert "error: run fne 0-1 failed; its log: logs/smoke/run/fne.0-1.log" in said
    assert "trained again: fne: forced" in said and "0/1 jobs · 0/2 training runs · stopped after" in said
    assert "Traceback" not in said
    assert not (project.folder / "results/smoke/fne/0-1/weights.safetensors").exists()
