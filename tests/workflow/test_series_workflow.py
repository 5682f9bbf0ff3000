"""A series in the workflow: its members' jobs, what an added value runs, and a tiny one really run."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from fne.study import paths
from fne.study.api import Series, load
from tests import shared_runs
from tests.alone import first_of_each, problems
from tests.snakemake_project import ROOT, Job, Project

STUDY = """
title: Two worlds
question: Does a series run as its members do?
regime: head
data: {dataset: scenes, train: 240, val: 100, test: 100}
factors: {data.prevalence: [0.0, 0.02]}
set:
  model: {hidden: 32, dim: 16}
  train: {epochs: 3, batch_size: 48, lr_warmup_steps: 2}
  warmup: {epochs: 1}
tuned: null
variants: [hardest_in_batch, hardest_in_batch_oracle_remove, infonce]
seeds: [0, 1, 2]
block: 3
baseline: hardest_in_batch
primary: {metric: rsum, protocol: own}
"""
WORLDS = ("--config", "study=worlds")
MEMBERS = ("worlds--data_prevalence-0.0", "worlds--data_prevalence-0.02")
OF_SERIES = {"compare_of_series", "make_tables_of_series", "make_figures_of_series", "make_report_of_series"}
REPORTED = {"audit", "make_tables", "make_figures", "make_report"}


def write(folder: Path) -> Project:
    project = Project.copy_of(ROOT, folder)
    (project.folder / "ablations/studies/worlds.yaml").write_text(STUDY)
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The series is finished, its files empty."""
    project = write(tmp_path_factory.mktemp("series") / "finished")
    project.finish(*WORLDS)
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return Project.copy_of(finished.folder, tmp_path / "project", made=True)


def of_study(jobs: list[Job]) -> Counter:
    return Counter(job.wildcards["study"] for job in jobs if "study" in job.wildcards)


def test_all_members_and_then_the_series(project: Project) -> None:
    jobs = project.planned("--forceall", *WORLDS)
    outputs = Counter(name for job in jobs for name in job.outputs)
    assert not [name for name, times in outputs.items() if times > 1]
    assert {f"reports/{name}/report.html" for name in (*MEMBERS, "worlds")} <= set(outputs)
    assert {f"results/worlds/{name}.csv" for name in ("worlds", "effects", "picks")} <= set(outputs)
    rules = Counter(job.rule for job in jobs)
    assert all(rules[name] == 1 for name in OF_SERIES)
    assert rules["prepare"] == 2 and rules["extract"] == 4 and rules["run"] == 6 and "pretrain" not in rules
    counts = of_study(jobs)
    assert set(counts) == set(MEMBERS) and len(set(counts.values())) == 1, "each member does the same work"
    (compare,) = [job for job in jobs if job.rule == "compare_of_series"]
    assert {f"results/{name}/{file}" for name in MEMBERS for file in ("runs.csv", "audit.csv")} <= set(compare.inputs)


def test_draws_and_worlds_share_what_they_can(project: Project) -> None:
    """A pair is pretrained once for all worlds, a world prepared once for all draws; their components are compared."""
    project.edit("ablations/studies/worlds.yaml", "{data.prevalence: [0.0, 0.02]}",
                 "{encoders.draw: [0, 1, 2], data.seed: [0, 1, 2]}\ndesign: corners")  # fmt: skip
    jobs = project.planned("--forceall", *WORLDS)
    rules = Counter(job.rule for job in jobs)
    assert (rules["prepare"], rules["pretrain"], rules["extract"], rules["run"]) == (3, 2 * 2, 2 * 7, 3 * 7)
    outputs = [name for job in jobs for name in job.outputs]
    assert len(outputs) == len(set(outputs))
    assert sum(name.startswith("resources/encoders/") for name in outputs) == 2 * 2, "a folder each"
    made = {name for job in jobs if job.rule in OF_SERIES for name in job.outputs}
    assert {"results/worlds/components.csv", "results/worlds/variance.yaml", "reports/worlds/figures/components.svg",
            "reports/worlds/tables/components.csv"} <= made  # fmt: skip
    assert not any("losses" in name or "figures/series" in name for name in made)
    (compare,) = [job for job in jobs if job.rule == "compare_of_series"]
    assert len([name for name in compare.inputs if name.endswith("/runs.csv")]) == 7


def test_finished_it_does_nothing_and_a_member_alone_is_a_study(project: Project) -> None:
    assert project.planned(*WORLDS) == []
    jobs = project.planned("--forceall", "--config", f"study={MEMBERS[1]}")
    assert set(of_study(jobs)) == {MEMBERS[1]} and not OF_SERIES & {job.rule for job in jobs}


def test_an_added_value_runs_its_own_member_and_tells_the_series_anew(project: Project) -> None:
    project.edit("ablations/studies/worlds.yaml", "[0.0, 0.02]", "[0.0, 0.01, 0.02]")
    jobs = project.planned(*WORLDS)
    assert set(of_study(jobs)) == {"worlds--data_prevalence-0.01"}
    rules = Counter(job.rule for job in jobs)
    assert rules["prepare"] == 1 and rules["run"] == 3 and all(rules[name] == 1 for name in OF_SERIES)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, worker: str) -> tuple[Project, Series]:
    """The series, really run up to its report; its members' own reports are left out."""
    targets = [*WORLDS, "--", "reports/worlds/report.html"]
    shared = shared_runs.run_once(tmp_path_factory, worker, "worlds", targets, {"worlds": STUDY})
    assert "The report of series worlds: reports/worlds/report.html" in shared_runs.said_by(shared)
    project = Project.copy_of(shared.folder, tmp_path_factory.mktemp("series_run") / "project", made=True)
    return project, load("worlds", root=project.folder)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.timeout(1200)
def test_the_report_is_there_and_names_every_world(ran: tuple[Project, Series]) -> None:
    project, series = ran
    page = (project.folder / "reports/worlds/report.html").read_text()
    assert all(member.name in page for member in series.members) and "</html>" in page
    summary = rows(project.folder / "reports/worlds/tables/main.csv")
    assert len(summary) == 2 * 3 and all(row["score"] and row["false_picks"] for row in summary)
    left = project.planned(*WORLDS)
    assert {job.rule for job in left} == REPORTED and set(of_study(left)) == set(MEMBERS)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rule", sorted(OF_SERIES))
def test_a_rule_of_a_series_alone(ran: tuple[Project, Series], rule: str, tmp_path: Path) -> None:
    jobs = first_of_each(ran[0].planned("--forceall", *WORLDS))
    assert problems(ran[0], jobs[rule], tmp_path / "alone", *WORLDS) == []


@pytest.mark.timeout(1200)
def test_without_a_false_negative_the_oracle_is_its_base_in_every_number(ran: tuple[Project, Series]) -> None:
    project, series = ran
    base, oracle = "hardest_in_batch", "hardest_in_batch_oracle_remove"
    scores: dict[str, list] = {}
    for member in series.members:
        result = {name: [] for name in (base, oracle)}
        for row in rows(project.folder / paths.results_folder(member) / "runs.csv"):
            if row["variant"] in result:
                key = [row[name] for name in ("seed", "protocol", "direction", "metric", "value")]
                result[row["variant"]].append(key)
        scores[member.name] = [result[base] == result[oracle], len(result[base])]
    assert scores[MEMBERS[0]][0] and scores[MEMBERS[0]][1] > 20 and not scores[MEMBERS[1]][0]
    (same,) = [
        row for row in rows(project.folder / "results/worlds/effects.csv")
        if (row["data.prevalence"], row["variant"], row["reference"], row["metric"]) == ("0.0", base, oracle, "rsum")
    ]  # fmt: skip
    assert (float(same["estimate"]), float(same["low"]), float(same["high"])) == (0, 0, 0)
    picks = {(row["data.prevalence"], row["variant"]): float(row["share"])
             for row in rows(project.folder / "results/worlds/picks.csv")}  # fmt: skip
    assert all(picks["0.0", name] == 0 for name in (base, oracle, "infonce"))
    assert picks["0.02", oracle] == 0 and picks["0.02", base] > 0 and picks["0.02", "infonce"] > 0


@pytest.mark.timeout(1200)
def test_verbs_take_a_series_or_a_member(ran: tuple[Project, Series]) -> None:
    project, _ = ran
    assert project.run("fne", "audit", "--study", MEMBERS[1]).returncode == 0, "of a member alone"
    for verb in ("compare", "tables", "figures", "report"):
        for name in ("worlds", MEMBERS[1]):
            done = project.run("fne", verb, "--study", name)
            assert done.returncode == 0, f"{verb} {name}: {done.stderr}"
    assert (project.folder / f"reports/{MEMBERS[1]}/report.html").is_file()
    done = project.run("fne", "aggregate", "--study", "worlds")
    assert done.returncode == 2 and "is a series: name one of its studies" in done.stderr
