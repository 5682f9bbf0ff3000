"""Imported by every process of a storm: kills it at the write that ``FNE_STORM`` says, a number, inside the project."""

import os
import signal
import sys
from pathlib import Path


def storm(at: int) -> None:
    writes, project = 0, f"{Path.cwd()}{os.sep}"

    def watch(event: str, given: tuple) -> None:
        nonlocal writes
        if event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR):
            path = given[0]
        elif event == "os.rename":
            path = given[1]
        else:
            return
        if not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith(project):
            writes += 1
            if writes == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if "FNE_STORM" in os.environ:
    storm(int(os.environ["FNE_STORM"]))
