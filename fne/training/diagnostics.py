"""What every variant is watched by: the same sums over the picks of every step, kept on the device until an epoch ends.

Steps are gathered and added up some at a time, so that one step costs few small operations; the sums are those of one
after the other, to the last bit.

The pick of a dense loss, which has none of its own, is one candidate drawn with probability proportional to its share
of the loss's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fne.negatives.strategy import Selection, arrays, count
from fne.protocols import DIRECTIONS
from fne.training.data import Pairs

BIN_WIDTH = 0.05
BINS = 40
AT_ONCE = 15
"""Steps that are added up at once."""
_SUMS = (
    "picks",
    "false_negatives",
    "hardness",
    "gap",
    "contributing",
    "anchors",
    "fallback",
    "loss",
    "at_collapse",
    "ess",
    "override",
    "watched",
    "age",
    "from_queue",
)


@dataclass(frozen=True)
class Picks:
    """What is logged of the picks of one direction of a step, one per anchor; (R, B) each.

    Args:
        direction: 0: images pick captions; 1: the other way round.
        index: The picked candidate.
        picked: Whether there is one; the rest means nothing where there is none.
        rows: Image row and caption row of the picked pair.
        similarity, positive: Of the anchor with its pick, and with its positive.
        entered: The step at which the pick was embedded, -1 for the batch; None where there is only the batch.
    """

    direction: int
    index: Tensor
    picked: Tensor
    rows: tuple[Tensor, Tensor]
    similarity: Tensor
    positive: Tensor
    entered: Tensor | None


class Diagnostics:
    """Sums of one epoch, and histograms of every epoch of the main phase.

    Args:
        replicates: R.
        epochs: Of the run.
        device: Where the sums live.
        split: The training split, for the truth about picks.
    """

    def __init__(self, replicates: int, epochs: int, device: torch.device, split: Pairs) -> None:
        self.epoch, self.split = 0, split
        self.sums = torch.zeros(2, len(_SUMS), replicates, dtype=torch.float64, device=device)
        self.histogram = {
            name: torch.zeros(epochs, 2, replicates, BINS, dtype=torch.int64, device=device)
            for name in ("picks", "false_negatives", "candidates", "candidate_false_negatives")
        }
        self._waiting: tuple[list[tuple[Any, ...]], ...] = ([], [])
        self._rows: dict[tuple[str, ...], Tensor] = {}

    def reset(self) -> None:
        """Start an epoch."""
        self.flush()
        self.sums.zero_()

    def add(self, direction: int, steps: dict[str, Tensor]) -> None:
        """Add (S, R, B) values of S steps, each summed over anchors."""
        added = torch.stack([value.sum(dim=-1, dtype=torch.float64) for value in steps.values()], dim=1)
        if (names := tuple(steps)) not in self._rows:  # an index that is no tensor yet would make the host wait
            self._rows[names] = torch.tensor([_SUMS.index(name) for name in names], device=self.sums.device)
        rows = self._rows[names]
        total = self.sums[direction, rows]
        for step in added:
            total += step
        self.sums[direction, rows] = total

    def add_step(
        self, picks: Picks, losses: tuple[Tensor, Tensor, Tensor | None], step: int, *, histogram: bool
    ) -> None:
        """Add a direction of a step.

        Args:
            picks: Counted in the histograms or not.
            losses: (R, B) each: the loss of each anchor, that at collapse, and the selection's ``fallback``.
            step: The global step, for the age of picks from the queue.
            histogram: Whether to count the picks there.
        """
        loss, at_collapse, fallback = losses
        losses = loss.detach(), at_collapse, torch.zeros_like(picks.picked) if fallback is None else fallback
        parts = *losses, picks.picked, *picks.rows, picks.similarity, picks.positive, picks.entered
        waiting = self._waiting[picks.direction]
        if len(waiting) == AT_ONCE or (waiting and waiting[-1][:2] != (step - 1, histogram)):
            self.flush()
        waiting.append((step, histogram, parts))

    def flush(self) -> None:
        """Add up what waits."""
        for direction, waiting in enumerate(self._waiting):
            if not waiting:
                continue
            steps, histogram, parts = zip(*waiting, strict=True)
            waiting.clear()
            whole: list[Any] = [None if one[0] is None else torch.stack(one) for one in zip(*parts, strict=True)]
            loss, at_collapse, fallback, picked, image, caption, similarity, positive, entered = whole
            false_negative = self.split.false_negative(image, caption) & picked
            added = {
                "loss": loss,
                "at_collapse": at_collapse,
                "contributing": loss > 0,
                "anchors": torch.ones_like(picked),
                "picks": picked,
                "false_negatives": false_negative,
                "hardness": similarity.masked_fill(~picked, 0),
                "gap": (positive - similarity).masked_fill(~picked, 0),
                "fallback": fallback,
            }
            if entered is not None:
                queued = picked & (entered >= 0)
                now = torch.arange(steps[0], steps[-1] + 1, device=entered.device)
                added |= {"from_queue": queued, "age": (now[:, None, None] - entered).masked_fill(~queued, 0)}
            self.add(direction, added)
            if histogram[0]:
                similarity, *counted = (part.transpose(0, 1) for part in (similarity, picked, false_negative))
                self.add_histogram("picks", direction, similarity, counted[0])
                self.add_histogram("false_negatives", direction, similarity, counted[1])

    def add_histogram(self, name: str, direction: int, similarity: Tensor, counted: Tensor) -> None:
        """Count similarities (R, ...) in bins of 0.05 over [-1, 1] where ``counted`` (R, ...)."""
        table = self.histogram[name][self.epoch, direction]
        if (given := arrays(similarity, counted)) is not None and similarity.dtype == torch.float32:
            for row, values, counts in zip(table, *given, strict=True):
                row += torch.from_numpy(_counts(values, counts))
            return
        bins = ((similarity.float() + 1) / BIN_WIDTH).floor().nan_to_num(0).clamp(0, BINS - 1).long()
        table.scatter_add_(1, bins.flatten(1), counted.flatten(1).long())

    def add_weights(self, direction: int, selection: Selection, excluded: Tensor) -> None:
        """Add the effective sample size and the share overridden by the posterior, (R, B, C), of a watched step."""
        added = {"watched": torch.ones_like(selection.valid)}
        if selection.weights is not None:
            weights = selection.weights.float()
            squares = weights.square().sum(dim=-1)
            added["ess"] = weights.sum(dim=-1).square() / squares.clamp(min=1e-30)
        if selection.overridden is not None:
            allowed = excluded.shape[-1] - count(excluded)
            added["override"] = count(selection.overridden & ~excluded) / allowed.clamp(min=1)
        self.add(direction, {name: value.unsqueeze(0) for name, value in added.items()})

    def row(self, replicate: int, *, truth: bool, posterior: bool) -> dict[str, float | None]:
        """The epoch's means of one replicate, as columns of ``curves.parquet``; None: does not apply."""
        self.flush()
        out: dict[str, float | None] = {}
        loss = collapse = age = queued = 0.0
        for d, sums in zip(DIRECTIONS, self.sums[..., replicate].tolist(), strict=True):
            total = dict(zip(_SUMS, sums, strict=True))
            picks, anchors, watched = (total[key] for key in ("picks", "anchors", "watched"))
            out[f"fn_share_{d}"] = total["false_negatives"] / picks if truth and picks else None
            out[f"hardness_{d}"] = total["hardness"] / picks if picks else None
            out[f"gap_{d}"] = total["gap"] / picks if picks else None
            out[f"ess_{d}"] = total["ess"] / watched if total["ess"] else None
            out[f"override_share_{d}"] = total["override"] / watched if posterior and watched else None
            out[f"fallback_share_{d}"] = total["fallback"] / anchors if anchors else None
            out[f"contributing_{d}"] = total["contributing"] / anchors if anchors else None
            loss += total["loss"] / max(anchors, 1)
            collapse += total["at_collapse"] / max(anchors, 1)
            age, queued = age + total["age"], queued + total["from_queue"]
        out["loss"] = loss
        out["queue_age"] = age / queued if queued else None
        out["collapsed"] = int(abs(loss / collapse - 1) <= 0.05) if collapse else 0
        return out

    def audit_rows(self, replicate: int) -> list[dict[str, Any]]:
        """Rows of ``audit.parquet``: counts by epoch of the main phase and similarity of the picked negative."""
        self.flush()
        rows = []
        tables = {name: table[:, :, replicate].tolist() for name, table in self.histogram.items()}
        for epoch in range(len(tables["picks"])):
            for index, d in enumerate(DIRECTIONS):
                counts = {name: table[epoch][index] for name, table in tables.items()}
                for b in range(BINS):
                    if counts["picks"][b] or counts["candidates"][b]:
                        low = round(b * BIN_WIDTH - 1, 2)
                        rows.append(
                            {
                                "epoch": epoch,
                                "direction": d,
                                "bin_low": low,
                                "bin_high": round(low + BIN_WIDTH, 2),
                                **{name: values[b] for name, values in counts.items()},
                            }
                        )
        return rows

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume."""
        self.flush()
        return {"sums": self.sums} | {f"histogram.{key}": value for key, value in self.histogram.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        self.sums.copy_(state["sums"])
        for key, value in self.histogram.items():
            value.copy_(state[f"histogram.{key}"])


def _counts(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(BINS,): as :meth:`Diagnostics.add_histogram` counts on a device."""
    if few := 8 * np.count_nonzero(counted) < counted.size:
        values = values[counted]
    if values.size and not -1 <= values.min() <= values.max() <= 2:
        values = np.nan_to_num(values, nan=-1.0).clip(-1, 1)
    shifted = values + np.float32(1)
    shifted /= np.float32(BIN_WIDTH)
    bins = shifted.astype(np.uint8)
    if not few:
        bins[~counted] = 255
    # Of many, two are counted at once, in a table of their pairs: half as many.
    bins, half = bins.ravel(), bins.size // 2 if bins.size > 1 << 18 else 0
    total = np.bincount(bins[2 * half :], minlength=256)
    if half:
        pairs = np.bincount(bins[: 2 * half].view(np.uint16), minlength=1 << 16).reshape(256, 256)
        total += pairs.sum(axis=0) + pairs.sum(axis=1)
    total[BINS - 1] += total[BINS:255].sum()
    return total[:BINS]
