"""Which steps' picks a run keeps, and the picks it has kept so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fne.training.picks import COLUMNS, ROW_BYTES
from fne.utils.errors import bad_input

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class PickPlan:
    """The steps whose picks are kept; known before training starts, and the same for every variant of a study.

    Args:
        kind: ``sampled``, ``full`` or ``none``.
        epochs: Epochs of which any step is kept.
        steps: Steps within each of them.
        of_epochs, of_steps: Epochs of the run, and steps of an epoch.
        batch_size: Anchors per step and direction.
        limit_mb: The bound, in megabytes per seed before compression.
        limited: Whether the bound took steps away.
    """

    kind: str
    epochs: tuple[int, ...]
    steps: tuple[int, ...]
    of_epochs: int
    of_steps: int
    batch_size: int
    limit_mb: float
    limited: bool

    @classmethod
    def of(cls, settings: dict[str, Any], *, epochs: int, steps: int, batch_size: int) -> PickPlan:
        """Plan what is kept.

        ``sampled`` keeps ``settings["steps"]`` steps of an epoch, ``full`` all of them. Where that exceeds
        ``limit_mb``, fewer steps of each epoch are kept, and where even one is too many, one step of fewer epochs;
        always evenly spaced, the last always among them.

        Args:
            settings: The section ``audit``: ``picks``, ``steps``, ``limit_mb``.
            epochs: Of the run, warm-up included.
            steps: Of an epoch.
            batch_size: B; a step makes 2 B picks.

        Raises:
            UserError: The bound is less than one step.
        """
        kind, limit = settings["picks"], settings["limit_mb"]
        wanted = {"none": 0, "sampled": min(settings["steps"], steps), "full": steps}[kind]
        step_bytes = 2 * batch_size * ROW_BYTES
        affordable = int(limit * MEGABYTE // step_bytes)
        if wanted and not affordable:
            least = f">= {step_bytes / MEGABYTE:g}, the picks of one step"
            raise bad_input("holds no step", key="audit.limit_mb", value=limit, allowed=least)
        kept = min(wanted, max(affordable // epochs, 1))
        in_epochs = min(epochs, affordable) if kept else 0
        return cls(
            kind,
            evenly(epochs, in_epochs),
            evenly(steps, kept),
            epochs,
            steps,
            batch_size,
            limit,
            limited=kept * in_epochs < wanted * epochs,
        )

    def keeps(self, epoch: int, step: int) -> bool:
        """Whether the picks of step ``step`` of an epoch are kept."""
        return step in self.steps and epoch in self.epochs

    @property
    def rows(self) -> int:
        """Picks kept per seed, at most: an anchor without a negative has none."""
        return 2 * self.batch_size * len(self.epochs) * len(self.steps)

    def told(self, rows: int, file_bytes: int, seeds: int) -> dict[str, Any]:
        """What ``run.json`` says about the picks of a block of seeds.

        Args:
            rows: Rows written.
            file_bytes: Size of the file.
            seeds: In the block.
        """
        total = self.of_epochs * self.of_steps
        covered = len(self.epochs) * len(self.steps)
        return {
            "kind": self.kind,
            "rows": rows,
            "bytes": file_bytes,
            "seeds": seeds,
            "steps_covered": covered,
            "steps_total": total,
            "steps_of_an_epoch": list(self.steps),
            "epochs_covered": len(self.epochs),
            "share_of_all_picks": covered / total,
            "limit_mb": self.limit_mb,
            "limited": self.limited,
        }


def evenly(total: int, count: int) -> tuple[int, ...]:
    """``count`` of ``0 .. total - 1``, evenly spaced, the last among them."""
    return tuple((k + 1) * total // count - 1 for k in range(count))


class PickLog:
    """The picks that R replicates have kept.

    Tensors stay on the device until an epoch ends or the state is requested, so that keeping a step's picks never waits
    for the device.

    Args:
        plan: Which steps are kept.
        seeds: R seeds.
    """

    def __init__(self, plan: PickPlan, seeds: Sequence[int]) -> None:
        self.plan, self.seeds = plan, list(seeds)
        self._waiting: list[dict[str, Tensor]] = []
        self._columns: dict[str, list[Tensor]] = {}

    def keep(self, picks: Sequence[dict[str, Tensor]], *, epoch: int, step: int) -> None:
        """Take the picks of a step.

        Args:
            picks: Per direction every column but seed, epoch and step, and ``picked``, whether there is one; (R, B).
            epoch: Its epoch.
            step: The global step.
        """
        for found in picks:
            where = found["anchor"]
            self._waiting.append(
                {
                    **found,
                    "seed": torch.tensor(self.seeds, device=where.device).unsqueeze(-1).expand_as(where),
                    "epoch": torch.full_like(where, epoch),
                    "step": torch.full_like(where, step),
                }
            )

    def flush(self) -> None:
        """Move what was kept to the host, as flat columns."""
        for found in self._waiting:
            kept = found["picked"]
            for name in COLUMNS:
                self._columns.setdefault(name, []).append(found[name][kept].cpu())
        self._waiting = []

    def columns(self) -> dict[str, Tensor]:
        """Every column so far, (P,) each, on the host."""
        self.flush()
        empty = [torch.empty(0)]
        return {name: torch.cat(self._columns.get(name, empty)) for name in COLUMNS}

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume."""
        columns = self.columns()
        return columns if len(columns["seed"]) else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        self._waiting, self._columns = [], {name: [column] for name, column in state.items()}
