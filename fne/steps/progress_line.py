"""What ``snakemake`` shows of a run: one line of progress with the time left, errors, and why runs are trained again.

Snakemake keeps its full log in ``.snakemake/log``; ``--verbose``, ``--printshellcmds``, ``--quiet ...`` or a logger of
the user's show Snakemake's own output instead.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text
from snakemake.logging import DefaultFormatter, logger
from snakemake_interface_logger_plugins.common import LogEvent

from fne.study.api import parse_block
from fne.utils.progress import clock
from fne.utils.text import harmless

TRAIN = ("train", "run")
"""Rules that train."""
LOG_EVERY = 30.0
"""Seconds between two lines where the output is no terminal."""
NOISE = (
    "Building DAG of jobs",
    "Using shell",
    "Select jobs to execute",
    "Execute ",
    "Elapsed time",
    "Shutting down",
    "Exiting because a job execution failed",
    "Removing output files of failed job",
    "RuleException:\nCalledProcessError",
    "Reasons:",
    "This was a dry-run",
    "Some jobs were triggered by provenance",
    "Rules with provenance triggered jobs",
)
"""How messages begin that say nothing which the line, or the report of a failed job, does not say."""
DROPPED = {LogEvent.SHELLCMD, LogEvent.JOB_STARTED, LogEvent.RESOURCES_INFO, LogEvent.GROUP_INFO, LogEvent.RULEGRAPH,
           LogEvent.WORKFLOW_STARTED, LogEvent.DEBUG_DAG}  # fmt: skip
DIGESTS = {"digest": "the config has changed", "code": "the code has changed", "encoders": "the encoders have changed"}
"""Parameters of a training job, and what it means that one has changed."""


def install(workflow: Any) -> str:
    """Show one line instead of Snakemake's default log, unless the user requested that one.

    Args:
        workflow: The ``workflow`` of a Snakefile.

    Returns:
        A piece of shell, for ``shell.prefix``, to run before every job: it erases the line on the terminal before a
        failed job prints its log.
    """
    settings = workflow.output_settings
    wants_all = settings.verbose or settings.quiet or settings.printshellcmds or settings.debug_dag
    default = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    if not workflow.is_main_process or wants_all or not default:
        return ""
    console = Console(file=sys.stdout if settings.stdout else sys.stderr, highlight=False, soft_wrap=True,
                      no_color=settings.nocolor or None)  # fmt: skip
    logger.removeHandler(default[0])
    logger.addHandler(ProgressLine(workflow, console))
    live = console.is_interactive and not settings.dryrun
    return r"""cat() {{ printf '\r\033[2K' >&2; command cat "$@"; }}; """ if live else ""


class ProgressLine(logging.Handler):
    """Show what Snakemake logs as one line, redrawn on a terminal, printed every 30 seconds elsewhere.

    Args:
        workflow: Its ``dag`` holds the jobs, as soon as they are known.
        console: Where to write.
    """

    def __init__(self, workflow: Any, console: Console) -> None:
        super().__init__()
        self.workflow, self.console = workflow, console
        self.setFormatter(DefaultFormatter())
        self.total = self.done = self.runs = self.runs_done = self.failed = 0
        self.running: dict[int, tuple[str, Mapping[str, str]]] = {}
        self.started = time.monotonic()
        self._live: Live | None = None
        self._ended = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a job that starts or ends, pass on what a person must know, leave out the rest."""
        try:
            self._handle(getattr(record, "event", None), record)
        except Exception:
            self.handleError(record)

    def _handle(self, event: LogEvent | None, record: Any) -> None:
        if event == LogEvent.RUN_INFO:
            if not self.total:
                self._begin()
        elif event == LogEvent.JOB_INFO:
            self.running[record.jobid] = (record.rule_name, dict(record.wildcards or {}))
        elif event == LogEvent.JOB_FINISHED:
            if job := self.running.pop(record.job_id, None):
                self.done += 1
                self.runs_done += _runs(*job)
        elif event == LogEvent.PROGRESS:
            if record.done == record.total:
                self.close()
        elif event == LogEvent.JOB_ERROR:
            _, wildcards = self.running.pop(record.jobid, ("", {}))
            self.failed += 1
            log = f"; its log: {', '.join(record.log)}" if record.log else ""
            self._print(f"error: {_named(record.rule_name, wildcards)} failed{log}", "red")
        elif event not in DROPPED and not (text := self.format(record)).lstrip().startswith(NOISE):
            self._print(text, "red" if record.levelno >= logging.ERROR else "")

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(Text(harmless(text.rstrip()), style))

    def _begin(self) -> None:
        """Count the jobs; say why runs are trained again; of a dry run say all, else start the line."""
        dag = self.workflow.dag
        jobs = list(dag.needrun_jobs())
        self.total = len(jobs)
        self.runs = sum(_runs(job.rule.name, job.wildcards_dict) for job in jobs)
        again: dict[str, dict[str, None]] = {}
        for job in jobs:
            reason = dag.reason(job)
            if job.rule.name in TRAIN and not reason.missing_output and (why := self._why(job, reason)):
                again.setdefault(why, {})[job.wildcards_dict["variant"]] = None
        if self.workflow.dryrun:
            self._tell_plan(jobs)
        for text, variants in again.items():
            shown = ", ".join(list(variants)[:3]) + (f" and {len(variants) - 3} more" if len(variants) > 3 else "")
            self._print(f"trained again: {shown}: {text}")
        if not self.workflow.dryrun:
            self.started = time.monotonic()
            if self.console.is_interactive:
                self._live = Live(get_renderable=self._text, console=self.console, refresh_per_second=2,
                                  transient=True, redirect_stdout=False)  # fmt: skip
                self._live.start()
            else:
                threading.Thread(target=self._print_regularly, daemon=True).start()

    def _why(self, job: Any, reason: Any) -> str:
        """Why a finished run is trained again: which of its digests is another than the recorded one, or its data.

        Nothing where there is no such reason: a run that is current by its content is kept.
        """
        then = str(self.workflow.persistence.params(job.output[0]) or "") if reason.params_changed else ""
        named = [words for key, words in DIGESTS.items()
                 if then and (now := job.params.get(key)) and str(now) not in then]  # fmt: skip
        other = reason.forced or reason.updated_input or reason.updated_input_run
        return ", ".join(named) or ("; ".join(sorted(reason.get_names())) if other else "")

    def _tell_plan(self, jobs: list[Any]) -> None:
        """One line a rule: how many jobs of it would run, and why."""
        counts, why = Counter(job.rule.name for job in jobs), defaultdict[str, set[str]](set)
        for job in jobs:
            why[job.rule.name] |= {*self.workflow.dag.reason(job).get_names()}
        width = max(map(len, counts))
        for rule in (rule.name for rule in self.workflow.rules if rule.name in counts):
            self._print(f"{counts[rule]:>6}  {rule:<{width}}  {'; '.join(sorted(why[rule]))}")
        runs = f", {self.runs} training runs" if self.runs else ""
        self._print(f"{self.total:>6}  jobs would run{runs}; `--dry-run --quiet host` lists each")

    def line(self) -> str:
        """The state of the run; the time left as training runs (or jobs, without any) took so far."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        parts = [f"{self.done}/{self.total} jobs"]
        parts += [f"{self.runs_done}/{self.runs} training runs"] if self.runs else []
        done, total, unit = (self.runs_done, self.runs, "runs") if self.runs else (self.done, self.total, "jobs")
        if self._ended.is_set():
            parts.append(f"{'in' if self.done == self.total else 'stopped after'} {clock(elapsed)}")
        elif done < total:
            parts += [f"{60 * done / elapsed:.2g} {unit}/min"] if done else []
            parts.append(f"{clock(elapsed / done * (total - done) if done else float('inf'))} left")
        parts += [f"{self.failed} failed"] if self.failed else []
        if now := [_named(*job) for job in list(self.running.values())]:
            parts.append("now " + ", ".join(now[:2]) + (f" and {len(now) - 2} more" if len(now) > 2 else ""))
        return " · ".join(parts)

    def _text(self) -> Text:
        return Text(harmless(self.line()), no_wrap=True, overflow="ellipsis")

    def _print_regularly(self) -> None:
        while not self._ended.wait(LOG_EVERY):
            self._print(self.line())

    def close(self) -> None:
        """End the line: the last state stays."""
        if self.total and not self.workflow.dryrun and not self._ended.is_set():
            self._ended.set()
            if self._live:
                self._live.stop()
            self.running.clear()
            self._print(self.line())
        super().close()


def _runs(rule: str, wildcards: Mapping[str, str]) -> int:
    """How many runs, one a seed, a job trains."""
    return len(parse_block(wildcards["block"])) if rule in TRAIN else 0


def _named(rule: str, wildcards: Mapping[str, str]) -> str:
    """A job, for people."""
    return " ".join([rule, *(value for key, value in wildcards.items() if key not in ("study", "series", "data"))])
