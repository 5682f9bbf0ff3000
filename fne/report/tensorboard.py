"""Training curves as TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fne.results.progress_files import Run
from fne.utils.errors import UserError

LEFT_OUT = ("seed", "epoch", "step", "seconds", "phase")


class Events:
    """One folder of event files a run, ``<variant>/seed-<n>``, one scalar a column of the curves, by step.

    Args:
        folder: Where they go. Rows that an earlier watching wrote there are written again; TensorBoard shows one.

    Raises:
        UserError: The package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise UserError("event files need the package tensorboard: pip install -e '.[tensorboard]'") from None
        self._writer, self.folder = Writer, folder
        self._open: dict[tuple[str, int], Any] = {}
        self._written: dict[tuple[str, int], int] = {}

    def add(self, runs: Sequence[Run]) -> None:
        """Write what is new of the curves."""
        for run in runs:
            key = (run.variant, run.seed)
            rows = [row for row in run.curve if row["epoch"] > self._written.get(key, -1)]
            for row in rows:
                if key not in self._open:
                    self._open[key] = self._writer(str(self.folder / run.variant / f"seed-{run.seed}"))
                for name, value in row.items():
                    if name not in LEFT_OUT and value is not None:
                        self._open[key].add_scalar(name, float(value), row["step"])
                self._written[key] = row["epoch"]
            if rows:
                self._open[key].flush()
