"""`fne` reproduces what the released rule gives on the reference cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conftest import shared_folder
from tests.negatives.released import fne
from tests.snakemake_project import ROOT

CASES = (shared_folder() or ROOT) / "reference" / "released_rule_cases.npz"
FIELDS = ("pos_mean", "pos_var", "neg_mean", "neg_var", "pos_count", "neg_count")

pytestmark = [
    pytest.mark.needs_shared,
    pytest.mark.skipif(not CASES.is_file(), reason="reference/released_rule_cases.npz is not available"),
]


@pytest.mark.parametrize("number", range(4))
def test_statistics_and_weights_equal_the_release(number: int) -> None:
    with np.load(CASES, allow_pickle=False) as archive:
        assert int(archive["cases"]) == 4
        case = {key.split("/")[1]: archive[key] for key in archive.files if key.startswith(f"case{number}/")}
    strategy = fne(margin=float(case["margin"]), min_positives=int(case["min_count"]))
    before = dict(zip(FIELDS, torch.from_numpy(case["before"]), strict=True))
    strategy.statistics.load_summary(before)
    online = torch.from_numpy(case["image"]) @ torch.from_numpy(case["text"]).T
    strategy.observe(online, torch.eye(len(online), dtype=torch.bool))
    after = strategy.statistics.summary()
    for field in FIELDS:
        assert after[field].item() == pytest.approx(float(case[field]), abs=1e-5), field
    excluded = torch.from_numpy(case["positive_mask"])
    margin = float(case["margin"])
    for direction in ("i2t", "t2i"):
        similarities = torch.from_numpy(case[direction])
        positive = similarities.diagonal()
        weights, _, _ = strategy.weights(similarities, excluded, positive)
        expected = torch.from_numpy(case[f"w_{direction}"])
        hinge = (margin + similarities - positive.unsqueeze(-1)).clamp(min=0).masked_fill(excluded, 0)
        empty = weights.sum(dim=-1) == 0
        # Where every weight is zero the release takes the argmax of the masked hinge: without a violated margin that is
        # column 0, which costs nothing and may even be a positive. `fne` then picks its hardest negative, at no cost.
        weights[empty, hinge[empty].argmax(dim=-1)] = 1.0
        assert (weights - expected).abs().max().item() <= 1e-5
        selection = strategy.select(similarities, excluded, positive, torch.full((len(weights),), 0.5))
        assert torch.equal(selection.fallback, empty)
        picked = selection.index[empty]
        violates = hinge[empty].amax(dim=-1) > 0
        assert torch.equal(picked[violates], expected[empty].argmax(dim=-1)[violates])
        assert (hinge[empty].gather(-1, picked.unsqueeze(-1)).squeeze(-1)[~violates] == 0).all()
