"""What a person sees of ``snakemake``: one line with the time left, failures, and why runs are trained again."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

from fne.steps import progress_line
from fne.steps.progress_line import ProgressLine


def reason_of(*names: str, missing: bool = False, then: str = "") -> SimpleNamespace:
    """Why a job runs; ``then``: the parameters that were recorded, where they have changed."""
    return SimpleNamespace(missing_output=missing, params_changed=bool(then), then=then, forced="forced" in names,
                           updated_input=False, updated_input_run=False, get_names=lambda: list(names))  # fmt: skip


MISSING = reason_of("output missing", missing=True)
JOBS = [
    *(SimpleNamespace(rule=SimpleNamespace(name="train"), wildcards_dict={"study": "s", "variant": v, "block": "0-4"},
                      output=["weights"], params={"digest": f"d-{v}", "code": "code-1"})
      for v in ("fne", "infonce")),
    *(SimpleNamespace(rule=SimpleNamespace(name=name), wildcards_dict={"study": "s"}) for name in ("rank", "audit")),
]  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    return now


def line_of(reason: SimpleNamespace, *, dryrun: bool = False) -> ProgressLine:
    rules = [SimpleNamespace(name=name) for name in ("train", "rank", "audit", "unused")]
    dag = SimpleNamespace(needrun_jobs=lambda: iter(JOBS), reason=lambda job: reason)
    kept = SimpleNamespace(params=lambda output: reason.then)
    workflow = SimpleNamespace(dag=dag, rules=rules, dryrun=dryrun, persistence=kept)
    return ProgressLine(workflow, Console(file=io.StringIO(), soft_wrap=True, width=20))


def log(line: ProgressLine, event: LogEvent | None = None, text: str = "", level: int = logging.INFO, **said: Any):
    record = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    record.__dict__.update(said, event=event)
    line.handle(record)


def shown(line: ProgressLine) -> list[str]:
    return line.console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def start(line: ProgressLine, number: int) -> None:
    log(line, LogEvent.JOB_INFO, jobid=number, rule_name=JOBS[number].rule.name, wildcards=JOBS[number].wildcards_dict)


def test_it_counts_jobs_and_runs_and_tells_the_time_left(clock: list[float]) -> None:
    line = line_of(MISSING)
    log(line, LogEvent.RUN_INFO)
    start(line, 0)
    start(line, 1)
    assert line.line() == "0/4 jobs · 0/10 training runs · ? left · now train fne 0-4, train infonce 0-4"
    clock[0] = 60.0
    log(line, LogEvent.JOB_FINISHED, job_id=0)
    start(line, 2)
    clock[0] = 62.0
    log(line, LogEvent.JOB_FINISHED, job_id=2)
    assert line.line() == "2/4 jobs · 5/10 training runs · 4.8 runs/min · 1:02 left · now train infonce 0-4"
    clock[0] = 80.0
    log(line, LogEvent.JOB_FINISHED, job_id=1)
    log(line, LogEvent.PROGRESS, done=4, total=4)
    assert shown(line)[-1] == "3/4 jobs · 10/10 training runs · stopped after 1:20"
    assert not line_of(MISSING).line().count("training"), "without training nothing is said of it"


def test_why_runs_are_trained_again_is_said_once(clock: list[float]) -> None:
    for reason, words in (
        (reason_of("params", then="d-old code-1"), "the config has changed"),
        (reason_of("params", then="d-fne d-infonce code-0"), "the code has changed"),
        (reason_of("forced"), "forced"),
    ):
        line = line_of(reason)
        log(line, LogEvent.RUN_INFO)
        log(line, LogEvent.RUN_INFO)
        assert shown(line) == [f"trained again: fne, infonce: {words}"]
    line = line_of(MISSING)
    log(line, LogEvent.RUN_INFO)
    assert shown(line) == []


def test_a_dry_run_says_what_would_run_and_why(clock: list[float]) -> None:
    line = line_of(MISSING, dryrun=True)
    log(line, LogEvent.RUN_INFO)
    start(line, 0)
    log(line, None, "Reasons:\n    (check individual jobs above for details)")
    line.close()
    table, last = shown(line)[:-1], shown(line)[-1]
    assert table == ["     2  train  output missing", "     1  rank   output missing", "     1  audit  output missing"]
    assert last == "     4  jobs would run, 10 training runs; `--dry-run --quiet host` lists each"


def test_failures_and_messages_pass_and_noise_does_not(clock: list[float]) -> None:
    line = line_of(MISSING)
    for text in ("Building DAG of jobs...", "Select jobs to execute...", "Using shell: /bin/bash"):
        log(line, None, text)
    log(line, LogEvent.SHELLCMD, "fne train")
    log(line, None, "Nothing to be done (all requested files are present and up to date).")
    log(line, None, "a warning\x1b[2J", logging.WARNING)
    start(line, 0)
    log(line, LogEvent.JOB_ERROR, level=logging.ERROR, jobid=0, rule_name="train", log=["logs/s/train/fne.log"])
    assert shown(line) == [
        "Nothing to be done (all requested files are present and up to date).",
        "a warning [2J",
        "error: train fne 0-4 failed; its log: logs/s/train/fne.log",
    ]


@pytest.mark.parametrize("asked", ["verbose", "printshellcmds", "debug_dag", "quiet"])
def test_who_asks_for_snakemakes_own_log_gets_it(asked: str) -> None:
    settings = SimpleNamespace(verbose=False, quiet=set(), printshellcmds=False, debug_dag=False)
    setattr(settings, asked, {"host"} if asked == "quiet" else True)
    before = list(progress_line.logger.handlers)
    assert progress_line.install(SimpleNamespace(output_settings=settings, is_main_process=True)) == ""
    assert progress_line.logger.handlers == before
