"""Imported by every process of a storm: notes what a verb of `fne` writes, and kills one as the plan says.

The plan, a JSON file that ``FNE_STORM`` names, is ``{verb: {mode, at, delay, group}}``: kill the first process of one
of these verbs that comes to its ``at``-th write or rename inside the project (mode ``write``), or that is ``delay``
seconds old (mode ``time``), alone or with its process group, Snakemake included. Whoever is killed takes the plan away.
"""

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def storm(verb: str, plan_file: Path) -> None:
    began, writes, project = time.monotonic(), 0, f"{Path.cwd()}{os.sep}"
    plan = json.loads(plan_file.read_text()).get(verb) if plan_file.is_file() else None
    log = plan_file.with_suffix(".log")

    def note(kind: str) -> None:
        line = {"verb": verb, "kind": kind, "seconds": round(time.monotonic() - began, 3), "writes": writes}
        with contextlib.suppress(OSError), open(log, "a") as file:  # no place is left: a storm of full disks
            file.write(json.dumps(line) + "\n")

    def kill() -> None:
        try:
            os.rename(plan_file, plan_file.with_suffix(f".{os.getpid()}"))  # the plan is for one process
        except FileNotFoundError:
            return
        note("killed")
        (os.killpg(os.getpgrp(), signal.SIGKILL) if plan["group"] else os.kill(os.getpid(), signal.SIGKILL))

    def later(seconds: float) -> None:
        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()

    def watch(event: str, given: tuple) -> None:
        nonlocal writes
        if event == "open":
            path, _, flags = given
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event == "os.rename":
            path = given[1]
        else:
            return
        if isinstance(path, int) or not os.path.abspath(os.fsdecode(path)).startswith(project):
            return
        writes += 1
        if plan and plan["mode"] == "write" and writes == plan["at"]:
            later(plan["delay"]) if plan["delay"] else kill()

    sys.addaudithook(watch)
    atexit.register(note, "ended")
    if plan and plan["mode"] == "time":
        later(plan["delay"])


if "FNE_STORM" in os.environ and len(sys.orig_argv) > 2 and Path(sys.orig_argv[1]).name == "fne":
    storm(sys.orig_argv[2], Path(os.environ["FNE_STORM"]))
