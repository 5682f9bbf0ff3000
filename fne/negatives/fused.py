"""Product and selection in one kernel: one negative an anchor, and never a matrix of anchors by candidates in memory.

Needs the package ``triton`` (part of torch for CUDA) and a GPU; with ``TRITON_INTERPRET=1`` it runs, slowly, anywhere.
Each program takes a tile of anchors through all candidates, tile by tile, and keeps of each anchor the best score so
far. A draw with probability w_ij / sum_j w_ij is the argument of the greatest ``log w_ij - log e_ij``, with e_ij
exponential (Gumbel's trick): the noise is a counter-based function of the anchor's own draw and j, so that what an
anchor picks depends neither on tiles nor on other anchors.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fne.negatives.memory.kind import EMPTY
from fne.negatives.strategy import TIE
from fne.negatives.weighting import Weighting

ELIMINATION = {"none": 0, "released": 1, "power": 2, "threshold": 3}
CUT_DOWN = {"none": 0, "global": 1, "anchor": 2}
ANCHORS, CANDIDATES, DIMS = 32, 64, 64
"""Sides of a tile, and how many dimensions of it are multiplied at once."""


@triton.jit
def _noise(key, j):  # type: ignore[no-untyped-def]  # triton's language
    """log e_ij, e_ij exponential of mean 1; near 0, where the draw is decided, as fine as 31 bits allow."""
    u = tl.rand(key, j)
    return tl.log(tl.where(u < 1e-3, u + 0.5 * u * u, -tl.log(1.0 - u)))


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # triton's language
    anchors, candidates, anchor_image, candidate_image, positive, uniform, fitted,
    index, similarity, flags,
    B, C, own, tau, limit, power, margin,
    D: tl.constexpr, ELIMINATION: tl.constexpr, CUT_DOWN: tl.constexpr, HARDEST: tl.constexpr,
    OWN_PAIR_ONLY: tl.constexpr, EMPTY: tl.constexpr, TIE: tl.constexpr,
    BB: tl.constexpr, BC: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BB + tl.arange(0, BB)
    inside = i < B
    image = tl.load(anchor_image + r * B + i, inside, -1)
    plus = tl.load(positive + r * B + i, inside, 0.0)
    key = (tl.load(uniform + r * B + i, inside, 0.0) * 16777216.0).to(tl.int32)
    centre, square, linear, constant = (tl.load(fitted + r * 6 + n) for n in tl.static_range(4))
    ready, easy = tl.load(fitted + r * 6 + 4), tl.load(fitted + r * 6 + 5)
    best = tl.full((BB,), float("-inf"), tl.float32)
    hard, best_s = best, best
    best_j = tl.zeros((BB,), tl.int32)
    hard_j = best_j
    for start in range(0, C, BC):
        j = start + tl.arange(0, BC)
        there = j < C
        s = tl.zeros((BB, BC), tl.float32)
        for d in range(0, D, BD):
            at = d + tl.arange(0, BD)
            a = tl.load(anchors + (r * B + i[:, None]) * D + at[None, :], inside[:, None] & (at < D)[None, :], 0.0)
            k = tl.load(candidates + (r * C + j[:, None]) * D + at[None, :], there[:, None] & (at < D)[None, :], 0.0)
            s = tl.dot(a, tl.trans(k), s, input_precision="ieee")
        other = tl.load(candidate_image + r * C + j, there, EMPTY)
        if OWN_PAIR_ONLY:
            excluded = (own + i)[:, None] == j[None, :]
        else:
            excluded = image[:, None] == other[None, :]
        allowed = (~excluded) & (there & (other != EMPTY))[None, :] & (s == s)
        masked = tl.where(allowed, s, float("-inf"))
        top, place = tl.max(masked, axis=1, return_indices=True, return_indices_tie_break_left=True)
        hard_j = tl.where(top > hard, start + place, hard_j)
        hard = tl.maximum(hard, top)
        if not HARDEST:
            gap = s - plus[:, None]
            log_w = -tau * gap * gap
            if ELIMINATION > 0:
                x = s - centre
                p = tl.sigmoid((square * x + linear) * x + constant)
                p = tl.where(ready > 0, p, 0.0)
                if ELIMINATION == 1:
                    log_w = tl.where(p > limit, -tau * p, log_w)
                elif ELIMINATION == 2:
                    log_w += power * tl.log(1.0 - p)
                else:
                    log_w = tl.where(p > limit, float("-inf"), log_w)
            if CUT_DOWN == 1:
                log_w = tl.where(s <= easy, float("-inf"), log_w)
            elif CUT_DOWN == 2:
                log_w = tl.where(s <= (plus - margin + TIE)[:, None], float("-inf"), log_w)
            score = tl.where(allowed, log_w - _noise(key[:, None], j[None, :]), float("-inf"))
            top, place = tl.max(score, axis=1, return_indices=True, return_indices_tie_break_left=True)
            better = top > best
            own_s = tl.sum(tl.where(tl.arange(0, BC)[None, :] == place[:, None], s, 0.0), axis=1)
            best_j = tl.where(better, start + place, best_j)
            best_s = tl.where(better, own_s, best_s)
            best = tl.maximum(best, top)
    valid = hard > float("-inf")
    drawn = best > float("-inf")
    tl.store(index + r * B + i, tl.where(drawn, best_j, hard_j).to(tl.int64), inside)
    tl.store(similarity + r * B + i, tl.where(drawn, best_s, hard), inside)
    tl.store(flags + r * B + i, valid.to(tl.int8) + 2 * (valid & ~drawn).to(tl.int8), inside)


def select(
    anchors: Tensor,
    candidates: Tensor,
    anchor_image: Tensor,
    candidate_image: Tensor,
    positive: Tensor,
    uniform: Tensor,
    *,
    weighting: Weighting | None,
    fitted: Tensor | None = None,
    pos_mean: Tensor | None = None,
    own_pair_only: bool = False,
    start: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One negative of each anchor: the hardest, or a draw by the weights of FNE with normal densities.

    Args:
        anchors: (R, B, D) float32.
        candidates: (R, C, D) float32.
        anchor_image, candidate_image: (R, B) and (R, C) int64; equal ids are no negatives, nor are empty slots.
        positive: (R, B) cosine of each anchor with its positive.
        uniform: (R, B) draws in [0, 1).
        weighting: What the weights are; None: the hardest candidate.
        fitted: (R, 5) float32: mean of the positives, the quadratic's coefficients around it (log odds of p), and 1
            where p is used; None before any statistics: no weight is set by p.
        pos_mean: (R,) for the global cut-down; None before any statistics: nothing is cut.
        own_pair_only, start: Only candidate ``start + i`` is excluded for anchor i.

    Returns:
        The pick (R, B) int64 and its cosine (R, B); whether there is any candidate, and whether the weights left none,
        so that the hardest was taken, (R, B) bool each.
    """
    anchors, candidates = anchors.contiguous(), candidates.contiguous()
    replicates, count, dim = anchors.shape
    index = torch.empty(anchors.shape[:2], dtype=torch.int64, device=anchors.device)
    similarity = torch.empty_like(positive, dtype=torch.float32)
    flags = torch.empty_like(index, dtype=torch.int8)
    table = torch.zeros(replicates, 6, device=anchors.device)
    table[:, 5] = -torch.inf
    if fitted is not None:
        table[:, :5] = fitted
    w = weighting or Weighting(0.0, "none", 0.0, 0.0, "none", 0.0)
    if pos_mean is not None:
        table[:, 5] = (pos_mean - w.margin).float()
    options: dict[str, Any] = {
        "D": dim,
        "ELIMINATION": ELIMINATION[w.elimination] if fitted is not None else 0,
        "CUT_DOWN": CUT_DOWN[w.cut_down],
        "HARDEST": weighting is None,
        "OWN_PAIR_ONLY": own_pair_only,
        "EMPTY": EMPTY,
        "TIE": TIE,
        "BB": ANCHORS,
        "BC": CANDIDATES,
        "BD": min(DIMS, triton.next_power_of_2(dim)),
    }
    _kernel[triton.cdiv(count, ANCHORS), replicates](
        anchors, candidates, anchor_image.contiguous(), candidate_image.contiguous(), positive.contiguous().float(),
        uniform.contiguous(), table, index, similarity, flags,
        count, candidates.shape[1], start, w.tau, w.limit, w.power, w.margin, **options,
    )  # fmt: skip
    return index, similarity, (flags & 1).bool(), (flags & 2).bool()
