"""What every variant is watched by: the same sums over the picks of every step, kept on the device until an epoch ends.

The pick of a dense loss, which has none of its own, is one candidate drawn with probability proportional to its share
of the loss's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fne.negatives.strategy import Selection
from fne.protocols import DIRECTIONS

BIN_WIDTH = 0.05
BINS = 40
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
        false_negative: Whether the picked pair is known to be relevant.
        entered: The step at which the pick was embedded, -1 for the batch; None where there is only the batch.
    """

    direction: int
    index: Tensor
    picked: Tensor
    rows: tuple[Tensor, Tensor]
    similarity: Tensor
    positive: Tensor
    false_negative: Tensor
    entered: Tensor | None


class Diagnostics:
    """Sums of one epoch, and histograms of every epoch of the main phase.

    Args:
        replicates: R.
        epochs: Of the run.
        device: Where the sums live.
    """

    def __init__(self, replicates: int, epochs: int, device: torch.device) -> None:
        self.epoch = 0
        self.sums = {
            f"{name}_{d}": torch.zeros(replicates, dtype=torch.float64, device=device)
            for name in _SUMS
            for d in DIRECTIONS
        }
        self.histogram = {
            name: torch.zeros(epochs, 2, replicates, BINS, dtype=torch.int64, device=device)
            for name in ("picks", "false_negatives", "candidates", "candidate_false_negatives")
        }

    def reset(self) -> None:
        """Start an epoch."""
        for value in self.sums.values():
            value.zero_()

    def add(self, name: str, direction: int, value: Tensor) -> None:
        """Add (R, B) values, summed over anchors."""
        self.sums[f"{name}_{DIRECTIONS[direction]}"] += value.sum(dim=-1, dtype=torch.float64)

    def add_losses(self, direction: int, losses: Tensor, at_collapse: Tensor, fallback: Tensor | None) -> None:
        """Add the loss of each anchor of a step, that at collapse, and the selection's ``fallback``; (R, B) each."""
        self.add("loss", direction, losses)
        self.add("at_collapse", direction, at_collapse)
        self.add("contributing", direction, losses > 0)
        self.add("anchors", direction, torch.ones_like(losses, dtype=torch.bool))
        if fallback is not None:
            self.add("fallback", direction, fallback)

    def add_picks(self, picks: Picks, step: int, *, histogram: bool) -> None:
        """Add the picks of a step, the age of those from the queue too, and count them in the histograms or not."""
        direction, similarity, picked = picks.direction, picks.similarity, picks.picked
        self.add("picks", direction, picked)
        self.add("false_negatives", direction, picks.false_negative)
        self.add("hardness", direction, similarity.masked_fill(~picked, 0))
        self.add("gap", direction, (picks.positive - similarity).masked_fill(~picked, 0))
        if picks.entered is not None:
            queued = picked & (picks.entered >= 0)
            self.add("from_queue", direction, queued)
            self.add("age", direction, (step - picks.entered).masked_fill(~queued, 0))
        if histogram:
            self.add_histogram("picks", direction, similarity, picked)
            self.add_histogram("false_negatives", direction, similarity, picks.false_negative)

    def add_histogram(self, name: str, direction: int, similarity: Tensor, counted: Tensor) -> None:
        """Count similarities (R, ...) in bins of 0.05 over [-1, 1] where ``counted`` (R, ...)."""
        bins = ((similarity.float() + 1) / BIN_WIDTH).floor().nan_to_num(0).clamp(0, BINS - 1).long()
        self.histogram[name][self.epoch, direction].scatter_add_(1, bins.flatten(1), counted.flatten(1).long())

    def add_weights(self, direction: int, selection: Selection, excluded: Tensor) -> None:
        """Add the effective sample size and the share overridden by the posterior, (R, B, C), of a watched step."""
        if selection.weights is not None:
            weights = selection.weights.float()
            squares = weights.square().sum(dim=-1)
            self.add("ess", direction, weights.sum(dim=-1).square() / squares.clamp(min=1e-30))
        if selection.overridden is not None:
            allowed = ~excluded
            share = (selection.overridden & allowed).sum(dim=-1) / allowed.sum(dim=-1).clamp(min=1)
            self.add("override", direction, share)
        self.add("watched", direction, torch.ones_like(selection.valid))

    def row(self, replicate: int, *, truth: bool, posterior: bool) -> dict[str, float | None]:
        """The epoch's means of one replicate, as columns of ``curves.parquet``; None: does not apply."""
        out: dict[str, float | None] = {}
        loss = collapse = age = queued = 0.0
        for d in DIRECTIONS:
            total = {name: float(self.sums[f"{name}_{d}"][replicate]) for name in _SUMS}
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
        return {
            **{f"sum.{key}": value for key, value in self.sums.items()},
            **{f"histogram.{key}": value for key, value in self.histogram.items()},
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        for key, value in {
            **{f"sum.{k}": v for k, v in self.sums.items()},
            **{f"histogram.{k}": v for k, v in self.histogram.items()},
        }.items():
            value.copy_(state[key])
