"""Studies on a real Slurm of one node: whatever ends a job, the weights are those of the local run.

Needs root, Debian's slurmctld, slurmd, slurm-client and munge, and snakemake-executor-plugin-slurm. What Slurm kills is
looked at, so these tests wait for its clocks: ten minutes on two idle cores.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.snakemake_project import ROOT, Project

PROFILE = ("--profile", "workflow/profiles/slurm", "--latency-wait", "5")
EPOCHS = 1200
"""A run of more than a minute on any machine, so that a limit of a minute ends it."""
CONFIG = ("--config", "study=smoke", f"set={{train.epochs: {EPOCHS}}}")
RUN = "results/smoke/fne/0-1/"
MISSING = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
MISSING += [] if importlib.util.find_spec("snakemake_executor_plugin_slurm") else ["snakemake-executor-plugin-slurm"]
MISSING += [] if os.getuid() == 0 else ["root"]
MISSING += [] if os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") == "1" else ["machine of their own (-n 0)"]

pytestmark = [pytest.mark.skipif(bool(MISSING), reason=f"slurm: no {', '.join(MISSING)}"), pytest.mark.timeout(3000)]


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def jobs(project: Project) -> dict[str, str]:
    """State of every job that was submitted from a project."""
    shown = slurm("squeue", "-h", "-t", "all", "-o", "%i %T %Z").splitlines()
    mine = [line.split() for line in shown if line.split()[2] == str(project.folder)]
    return {job: state for job, state, _ in sorted(mine, key=lambda each: int(each[0]))}


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of the one node of a Slurm that is up."""
    if Path("/etc/slurm/slurm.conf").exists():  # somebody's own, or left up for a look at what failed
        yield slurm("sinfo", "-h", "-o", "%n").split()[0]
        return
    state, here = tmp_path_factory.mktemp("state"), Path(__file__).parent
    slurm("bash", str(here / "up.sh"), str(state))
    yield slurm("sinfo", "-h", "-o", "%n").split()[0]
    slurm("bash", str(here / "down.sh"), str(state))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The run that all others are set against, made without Slurm."""
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("local") / "project")
    done = project.snakemake("--cores", "2", *CONFIG, "--", f"{RUN}metrics.test.json", timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def prepared(local: Project, folder: Path) -> Project:
    """A project with the data of another, and none of its runs."""
    project = Project.copy_of(local.folder, folder, made=True)
    shutil.rmtree(project.folder / "results")
    return project


def begun(project: Project, *options: str) -> subprocess.Popen:
    """Snakemake on a run by the profile; what it says is in ``slurm.log``."""
    command = ["python", "-m", "snakemake", *PROFILE, *CONFIG, *options, "--", f"{RUN}metrics.test.json"]
    log = (project.folder / "slurm.log").open("w")
    return subprocess.Popen(
        command, cwd=project.folder, env=project.environment(), stdout=log, stderr=subprocess.STDOUT
    )


def until(what: Callable[[], bool], process: subprocess.Popen, project: Project, seconds: float = 600) -> None:
    ends = time.monotonic() + seconds
    while not what():
        said = (project.folder / "slurm.log").read_text()
        assert process.poll() is None and time.monotonic() < ends, said[-3000:]
        time.sleep(0.5)


def log(project: Project) -> str:
    """What the job itself says; a progress line that writes over itself is many lines here."""
    file = project.folder / "logs/smoke/run/fne.0-1.log"
    return file.read_text() if file.exists() else ""


def trains(project: Project) -> bool:
    """Has it made some steps, and been saved?"""
    return any((project.folder / "scratch/smoke/fne/0-1").glob("*/")) and "steps" in log(project)


def assert_same(project: Project, local: Project) -> None:
    """The weights bit by bit, and every pick and value of a query."""
    mine, theirs = project.folder / RUN, local.folder / RUN
    assert (mine / "weights.safetensors").read_bytes() == (theirs / "weights.safetensors").read_bytes()
    for name in ("picks.npz", "queries.test.npz"):
        with np.load(mine / name) as made, np.load(theirs / name) as expected:
            assert made.files == expected.files
            for key in expected.files:
                np.testing.assert_array_equal(made[key], expected[key], name)


def test_killed_by_memory_and_then_by_its_time_limit(local: Project, tmp_path: Path) -> None:
    project = prepared(local, tmp_path / "project")
    limits = ("run:mem_mb=400 if attempt == 1 else 1500", "run:runtime=1 if attempt == 2 else 60",
              "run:slurm_extra='--signal=USR1@30'")  # fmt: skip
    process = begun(project, "--set-resources", *limits)
    process.wait(2000)
    said = (project.folder / "slurm.log").read_text()
    assert process.returncode == 0, said
    ended = sorted(jobs(project).items(), key=lambda item: int(item[0]))
    states = [state for _, state in ended]
    assert (
        len(states) == 3
        and states[1:] == ["TIMEOUT", "COMPLETED"]
        and states[0] in ("OUT_OF_MEMORY", "FAILED", "CANCELLED")
    ), states
    assert_same(project, local)


def test_drained_requeued_and_its_node_lost(local: Project, tmp_path: Path, node: str) -> None:
    project = prepared(local, tmp_path / "project")
    slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    process = begun(project)
    try:
        until(lambda: "PENDING" in jobs(project).values(), process, project)
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
        until(lambda: trains(project), process, project)
        (job,) = jobs(project)
        slurm("scontrol", "requeue", job)
        until(lambda: "Restarts=1" in slurm("scontrol", "show", "job", job), process, project)
        until(lambda: jobs(project)[job] == "RUNNING", process, project)
        time.sleep(30)
        slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
        process.wait(2000)
    finally:
        if slurm("sinfo", "-h", "-o", "%T").startswith(("drain", "down")):
            slurm("scontrol", "update", f"nodename={node}", "state=resume")
    assert process.returncode == 0, (project.folder / "slurm.log").read_text()
    assert "Restarts=2" in slurm("scontrol", "show", "job", job)
    assert_same(project, local)


def test_smoke_end_to_end_in_few_submissions(local: Project, tmp_path: Path) -> None:
    project = Project.copy_of(ROOT, tmp_path / "project")
    done = project.snakemake(*PROFILE, "--config", "study=smoke", "--group-components", "runs=2", timeout=2500)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    (project.folder / "slurm.log").write_text(said)
    assert (project.folder / "reports/smoke/report.html").is_file()
    # prepare, two extractions, three runs by twos, and all that follows
    assert len(re.findall(r"has been submitted with SLURM jobid", said)) == 6


def test_a_partition_that_is_not_there_is_named_before_any_job(local: Project, tmp_path: Path) -> None:
    project = prepared(local, tmp_path / "project")
    done = project.snakemake(*PROFILE, "--default-resources", "slurm_partition=nowhere", "--config", "study=smoke")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "slurm_partition: no such partition of Slurm; got 'nowhere'" in said
    assert "allowed: debug" in said and not jobs(project)
