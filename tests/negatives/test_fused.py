"""The fused kernel against the rule in plain numpy, in Triton's interpreter: same noise, same picks; and its draws."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from fne.negatives.memory.kind import EMPTY
from fne.negatives.strategy import TIE
from fne.negatives.weighting import Weighting
from fne.training.context import Context
from fne.training.step import Choice, Rule, Step, exclude
from fne.utils.errors import UserError
from tests.training import toy

pytestmark = pytest.mark.extra("triton")
os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported
pytest.importorskip("triton")
fused = pytest.importorskip("fne.negatives.fused")

R, B, C, D = 2, 37, 150, 40


def philox(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """First word of Philox 4x32-10 (Salmon et al., 2011), as a number in [0, 1) as Triton makes it."""
    mask, words = np.uint64(0xFFFFFFFF), [counter.astype(np.uint64), *(np.zeros_like(counter, np.uint64),) * 3]
    keys = [key.astype(np.uint64), np.zeros_like(key, np.uint64)]
    for _ in range(10):
        left, right = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
        words = [(right >> np.uint64(32)) ^ words[1] ^ keys[0], right & mask,
                 (left >> np.uint64(32)) ^ words[3] ^ keys[1], left & mask]  # fmt: skip
        keys = [(keys[0] + np.uint64(0x9E3779B9)) & mask, (keys[1] + np.uint64(0xBB67AE85)) & mask]
    signed = words[0].astype(np.uint32).view(np.int32).astype(np.int64)
    return np.where(signed < 0, -signed - 1, signed) * 4.6566127342e-10


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    anchors, candidates = unit(R, B, D), unit(R, C, D)
    candidates[:, :B] = torch.nn.functional.normalize(anchors + 0.2 * candidates[:, :B], dim=-1)
    candidates[:, 60] = candidates[:, 61]  # a tie
    candidates[0, 70] = torch.nan
    image = torch.randint(0, 30, (R, B), generator=generator)
    others = torch.cat([image, torch.randint(EMPTY, 30, (R, C - B), generator=generator)], dim=1)
    others[:, 90:100] = EMPTY
    uniform = torch.rand(R, B, generator=generator)
    return {"anchors": anchors, "candidates": candidates, "anchor_image": image, "candidate_image": others,
            "positive": (anchors * candidates[:, :B]).sum(dim=-1), "uniform": uniform}  # fmt: skip


FITTED = torch.tensor([[0.5, 3.0, 20.0, -3.0, 1.0], [0.4, -2.0, 15.0, -2.0, 0.0]])
"""A posterior that is used, and one that is not yet."""


def plain(x: dict[str, torch.Tensor], w: Weighting | None, fitted: bool, own_pair_only: bool) -> list[np.ndarray]:
    """The same with loops over anchors: index, valid, fallback."""
    out: list[list[tuple[int, bool, bool]]] = []
    mean = np.array([0.3, 0.9])
    for r in range(R):
        out.append([])
        for i in range(B):
            s = (x["anchors"][r, i] @ x["candidates"][r].T).numpy().astype(np.float32)
            other = x["candidate_image"][r].numpy()
            own = np.arange(C) == i if own_pair_only else other == int(x["anchor_image"][r, i])
            allowed = ~own & (other != EMPTY) & ~np.isnan(s)
            hardest = int(np.where(allowed, s, -np.inf).argmax())
            score = np.full(C, -np.inf)
            if w is not None:
                plus = float(x["positive"][r, i])
                weight = np.exp(-w.tau * (s - plus) ** 2.0)
                if fitted and w.elimination != "none":
                    centre, a, b, c, ready = FITTED[r].numpy()
                    p = ready / (1 + np.exp(-((a * (s - centre) + b) * (s - centre) + c)))
                    rule = {"released": np.where(p > w.limit, np.exp(-w.tau * p), weight),
                            "power": weight * (1 - p) ** w.power,
                            "threshold": np.where(p > w.limit, 0, weight)}  # fmt: skip
                    weight = rule[w.elimination]
                easy = {"global": mean[r] - w.margin if fitted else -np.inf, "anchor": plus - w.margin + TIE}
                weight = np.where(allowed & (s > easy.get(w.cut_down, -np.inf)), weight, 0)
                u = philox(np.full(C, int(x["uniform"][r, i] * 2**24)), np.arange(C))
                with np.errstate(divide="ignore"):
                    score = np.log(weight) - np.log(-np.log1p(-u))
            some = bool((score > -np.inf).any())
            out[-1].append((int(score.argmax()) if some else hardest, allowed.any(), allowed.any() and not some))
    return [np.array([[row[n] for row in rows] for rows in out]) for n in range(3)]


@pytest.mark.parametrize("own_pair_only", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("cut_down", ["global", "anchor", "none"])
@pytest.mark.parametrize("elimination", ["hardest", "released", "power", "threshold", "none"])
def test_picks_are_those_of_the_plain_rule(inputs, elimination, cut_down, fitted, own_pair_only) -> None:
    w = None if elimination == "hardest" else Weighting(5.0, elimination, 0.3, 2.0, cut_down, 0.2)
    given = {"fitted": FITTED, "pos_mean": torch.tensor([0.3, 0.9])} if fitted else {}
    index, similarity, valid, fallback = fused.select(**inputs, weighting=w, own_pair_only=own_pair_only, **given)
    expected = plain(inputs, w, fitted, own_pair_only)
    np.testing.assert_array_equal(valid.numpy(), expected[1])
    np.testing.assert_array_equal(index.numpy(), expected[0])
    if w is not None:
        np.testing.assert_array_equal(fallback.numpy(), expected[2])
    cosine = (inputs["anchors"] * fused_rows(inputs["candidates"], index)).sum(dim=-1)
    torch.testing.assert_close(similarity, cosine, atol=1e-6, rtol=0)


def fused_rows(candidates: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return candidates.gather(1, index.unsqueeze(-1).expand(-1, -1, candidates.shape[-1]))


def test_without_a_candidate_nothing_is_valid(inputs) -> None:
    empty = inputs | {"candidate_image": torch.full((R, C), EMPTY)}
    _, _, valid, fallback = fused.select(**empty, weighting=Weighting(1.0, "none", 0.0, 0.0, "none", 0.2))
    assert not valid.any() and not fallback.any()


def test_draws_follow_the_weights(inputs) -> None:
    """6,000 draws of one anchor; the probability of a worse fit is above one in a thousand."""
    draws, w = 6000, Weighting(4.0, "power", 0.0, 1.0, "none", 0.2)
    one = {name: value[:1] for name, value in inputs.items()}
    many = one | {name: one[name][:, :1].expand(1, draws, *one[name].shape[2:]).contiguous() for name in
                  ("anchors", "anchor_image", "positive")}  # fmt: skip
    many["uniform"] = torch.rand(1, draws, generator=torch.Generator().manual_seed(1))
    index, *_ = fused.select(**many, weighting=w, fitted=FITTED[:1])
    s = (one["anchors"][0, 0] @ one["candidates"][0].T).double().nan_to_num(-9)
    centre, a, b, c, _ = FITTED[0].double()
    p = torch.sigmoid((a * (s - centre) + b) * (s - centre) + c)
    allowed = (one["candidate_image"][0] != EMPTY) & (one["candidate_image"][0] != one["anchor_image"][0, 0])
    weights = (torch.exp(-4 * (s - one["positive"][0, 0]) ** 2) * (1 - p) * (allowed & (s > -2))).numpy()
    counts = np.bincount(index[0].numpy(), minlength=C)
    assert not counts[weights == 0].any()
    some = weights > 0
    expected = weights[some] / weights[some].sum() * draws
    keep = expected >= 5
    observed = np.append(counts[some][keep], counts[some][~keep].sum())
    expected = np.append(expected[keep], expected[~keep].sum())
    observed, expected = (x[expected > 0] for x in (observed, expected))
    assert chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("rule", ["fne", "fne_no_buffer", "hardest_xbm"])
def test_in_a_run_every_pick_is_one_that_the_rule_could_make(rule, monkeypatch) -> None:
    """Valid, fallback, cosine and positive are the rule's; its weight of every pick is above zero."""
    seen, by_kernel = [], Step.select_fused

    def compared(self: Step, rule: Rule, direction: int, context: Context) -> Choice:
        choice = by_kernel(self, rule, direction, context)
        rule.strategy.watched = True
        plain = self.select(rule, direction, exclude(context, rule.own_pair_only), context)
        rule.strategy.watched = False
        a, b, at = choice.selection, plain.selection, choice.selection.index.unsqueeze(-1)
        fallback = torch.ones_like(b.valid) if b.fallback is None else b.fallback
        assert torch.equal(a.valid, b.valid) and (b.fallback is None or torch.equal(a.fallback, b.fallback))
        torch.testing.assert_close(choice.similarities, plain.similarities.gather(-1, at).squeeze(-1))
        torch.testing.assert_close(choice.positive, plain.positive)
        if b.weights is not None:
            assert ((b.weights.gather(-1, at).squeeze(-1) > 0) | fallback).all()
        assert torch.equal(a.index[fallback], b.index[fallback])
        seen.append(fallback.double().mean())
        return choice

    monkeypatch.setattr(Step, "select_fused", compared)
    sections = toy.RULES[rule]
    run = toy.trained([0, 1], **{**sections, "negatives": sections.get("negatives", {}) | {"kernel": "triton"}})
    assert len(seen) > 10 and all(row["contributing_i2t"] > 0 for row in run.curves)


@pytest.mark.parametrize("negatives", [{"strategy": "random"}, {"oracle": "remove"}, {"prior_rule": "em"}])
def test_a_rule_without_a_kernel_is_refused(negatives) -> None:
    with pytest.raises(UserError, match="no kernel"):
        toy.trained([0], negatives=negatives | {"kernel": "triton"})
