"""Which similarities the statistics hold: populations of negatives, fading, histograms; and the estimated prior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from fne.negatives.prior import EMPrior
from fne.negatives.statistics import BINS, WIDTH, PairStatistics
from fne.negatives.strategy import Strategy
from tests.negatives.released import fne, moments


def batches(count: int, size: int = 7, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        s = rng.uniform(-0.9, 0.9, (size, size))
        s[range(size), range(size)] += 0.8 * (rng.random(size) < 0.7)
        out.append(torch.from_numpy(s))
    return out


def assert_holds(strategy: Strategy, values: list[float]) -> None:
    """Count and mean of negatives, plain."""
    summary = strategy.statistics.summary()
    assert summary["neg_count"].item() == len(values)
    assert summary["neg_mean"].item() == pytest.approx(np.mean(values), abs=1e-12)


def test_released_statistics_equal_plain_loops_over_two_batches_and_reset() -> None:
    strategy, seen = fne(), batches(2, size=9, seed=4)
    for s in seen:
        strategy.observe(s, torch.eye(9, dtype=torch.bool))
    summary = strategy.statistics.summary()
    for side, (count, mean, variance) in moments([s.tolist() for s in seen]).items():
        assert summary[f"{side}_count"].item() == count >= 4
        assert summary[f"{side}_mean"].item() == pytest.approx(mean, abs=1e-12)
        assert summary[f"{side}_var"].item() == pytest.approx(variance, abs=1e-12)


@pytest.mark.parametrize(("reset", "forgets"), [("epoch", True), ("never", False), ("ema", False)])
def test_statistics_are_reset_each_epoch_only_where_requested(reset: str, forgets: bool) -> None:
    strategy = fne(statistics_reset=reset)
    strategy.observe(torch.eye(3).double(), torch.eye(3, dtype=torch.bool))
    strategy.start_epoch()
    assert (strategy.statistics.summary() is None) == forgets


@pytest.mark.parametrize(("mask", "expected"), [("diagonal", 0.8 * 4 + 0.2 * 2), ("same_image", 0.1 * 2 + 0.2 * 4)])
def test_the_mask_decides_whether_other_captions_of_the_image_are_negatives(mask: str, expected: float) -> None:
    s = torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.95, 0.2], [0.1, 0.2, 0.9]], dtype=torch.float64)
    strategy = fne(statistics_mask=mask)
    strategy.observe(s, torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool))
    assert strategy.statistics.summary()["neg_mean"].item() == pytest.approx(expected / 6)


@pytest.mark.parametrize("mask", ["diagonal", "same_image"])
def test_population_batch_is_every_unmasked_entry_once(mask: str) -> None:
    same = torch.eye(7, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    masked = same if mask == "same_image" else torch.eye(7, dtype=torch.bool)
    strategy, seen = fne(population="batch", statistics_mask=mask), []
    for number, s in enumerate(batches(2)):
        strategy.observe(s, same)
        seen += s[~masked].tolist()
        if number == 0:  # over several batches the variance is the released one, tested above
            variance = strategy.statistics.summary()["neg_var"].item()
            assert variance == pytest.approx(np.var(seen, ddof=1), abs=1e-12)
    assert_holds(strategy, seen)


def test_population_queue_is_every_candidate_of_both_directions() -> None:
    strategy = fne(population="queue", min_positives=2)
    strategy.observe(batches(1)[0], torch.eye(7, dtype=torch.bool))
    assert strategy.statistics.summary()["neg_count"].item() == 0
    rng, seen = np.random.default_rng(3), []
    for _ in range(2):
        similarities = torch.from_numpy(rng.uniform(-1, 1, (7, 12)))
        similarities[2, 5] = torch.nan
        excluded = torch.from_numpy(rng.random((7, 12)) < 0.3)
        strategy.select(similarities, excluded, torch.full((7,), 0.5).double(), torch.rand(7))
        seen += similarities[~excluded & ~similarities.isnan()].tolist()
        assert_holds(strategy, seen)


def test_without_elimination_only_the_positives_are_counted() -> None:
    strategy = fne(elimination="none")
    strategy.observe(batches(1)[0], torch.eye(7, dtype=torch.bool))
    summary = strategy.statistics.summary()
    assert summary["pos_count"].item() > 0 and summary["neg_count"].item() == 0
    idle = fne(elimination="none", cut_down="anchor")
    idle.observe(batches(1)[0], torch.eye(7, dtype=torch.bool))
    assert idle.state() == {}


def test_ema_weighs_each_step_by_its_age() -> None:
    strategy, eye = fne(statistics_reset="ema", statistics_decay=0.8, density="kde"), torch.eye(7, dtype=torch.bool)
    alone = []
    for s in batches(5, seed=4):
        strategy.start_epoch()
        strategy.observe(s, eye)
        statistics = PairStatistics(histograms=True)
        statistics.update(s, eye)
        alone.append(statistics.summary())
    summary, weights = strategy.statistics.summary(), [0.8 ** (4 - step) for step in range(5)]
    for side in ("pos", "neg"):
        counts = [w * of[f"{side}_count"].item() for w, of in zip(weights, alone, strict=True)]
        means = [of[f"{side}_mean"].item() for of in alone]
        assert summary[f"{side}_count"].item() == pytest.approx(sum(counts))
        assert summary[f"{side}_mean"].item() == pytest.approx(np.average(means, weights=counts))
        histogram = sum(w * of[f"{side}_histogram"] for w, of in zip(weights, alone, strict=True))
        torch.testing.assert_close(summary[f"{side}_histogram"], histogram)


def test_ema_variance_equals_plain_loops() -> None:
    """Squared deviations from the mean right after each batch, as released, faded with their counts."""
    statistics, squares, count, mean, eye = PairStatistics(), 0.0, 0.0, 0.0, torch.eye(7, dtype=torch.bool)
    for s in batches(4, seed=5):
        statistics.fade(0.7)
        statistics.update(s, eye)
        values = [s[i, i].item() for i in range(7) if s[i].argmax() == i and s[:, i].argmax() == i]
        squares, before = squares * 0.7, count * 0.7
        count = before + len(values)
        mean = (mean * before + sum(values)) / count
        squares += sum((x - mean) ** 2 for x in values)
    assert statistics.summary()["pos_var"].item() == pytest.approx(squares / (count - 1), abs=1e-12)
    for _ in range(20):  # without a reliable positive the count falls below 1, and the mean stays
        statistics.fade(0.7)
        statistics.update(-torch.eye(7).double(), eye)
    assert statistics.summary()["pos_count"].item() == pytest.approx(count * 0.7**20) and count * 0.7**20 < 1
    assert statistics.summary()["pos_mean"].item() == pytest.approx(mean)


def test_histograms_count_what_the_moments_count() -> None:
    statistics = PairStatistics(histograms=True)
    wild = torch.tensor([[1.2, -1.3, 0.001], [0.1, 1.0, -0.9], [0.2, 0.3, 0.95]], dtype=torch.float64)
    statistics.update(wild, torch.eye(3, dtype=torch.bool), "batch")
    summary = statistics.summary()
    for side, values in (("pos", [1.2, 1.0, 0.95]), ("neg", [-1.3, 0.001, 0.1, -0.9, 0.2, 0.3])):
        plain = [0] * BINS
        for x in values:
            plain[min(max(math.floor((x + 1) / WIDTH), 0), BINS - 1)] += 1
        assert summary[f"{side}_histogram"].tolist() == plain
        assert summary[f"{side}_count"].item() == len(values)


def test_online_em_reaches_what_batch_em_reaches() -> None:
    rng = np.random.default_rng(6)
    false = rng.random(20_000) < 0.04
    s = np.where(false, rng.normal(0.6, 0.08, 20_000), rng.normal(0.3, 0.1, 20_000))
    pos, neg = stats.norm.pdf(s, 0.6, 0.08), stats.norm.pdf(s, 0.3, 0.1)

    def posterior(pi: float) -> np.ndarray:
        return pi * pos / (pi * pos + (1 - pi) * neg)

    exact = 1e-4
    for _ in range(500):
        exact = float(posterior(exact).mean())
    assert exact == pytest.approx(0.04, abs=0.006)

    ready, counted = torch.tensor(True), torch.ones(1, 20_000, dtype=torch.bool)
    whole = EMPrior(1e-4, 1.0, 1e-6, 0.5)
    for _ in range(500):
        whole.learn(torch.from_numpy(posterior(whole.value(ready).item())).unsqueeze(0), counted, ready)
    assert whole.value(ready).item() == pytest.approx(exact, rel=1e-9)

    online, seen = EMPrior(1e-4, 0.05, 1e-6, 0.5), []
    for _ in range(600):
        some = posterior(online.value(ready).item())[rng.integers(0, 20_000, 2_000)]
        online.learn(torch.from_numpy(some).unsqueeze(0), counted[:, :2_000], ready)
        seen.append(online.value(ready).item())
    assert np.mean(seen[300:]) == pytest.approx(exact, rel=0.03)


def test_em_is_bounded_masked_and_waits_for_the_statistics() -> None:
    p = torch.tensor([[[0.9, torch.nan, 0.1]], [[0.2, 0.4, 0.6]], [[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]])
    counted = torch.tensor([[[True, False, True]], [[True] * 3], [[True] * 3], [[True] * 3]])
    em = EMPrior(0.1, 0.5, 0.06, 0.4)
    em.learn(p, counted, torch.tensor([True, False, True, True]))
    assert em.value(torch.zeros(4)).tolist() == pytest.approx([0.05 + 0.25, 0.1, 0.4, 0.06])
    em.learn(p, torch.zeros_like(counted), torch.ones(4, dtype=torch.bool))
    assert em.value(torch.zeros(4)).tolist() == pytest.approx([0.3, 0.1, 0.4, 0.06])


def test_fne_uses_the_prior_that_em_learned_and_keeps_it_over_epochs() -> None:
    strategy, eye = fne(prior_rule="em", prior=0.01, prior_rate=1.0, min_positives=2), torch.eye(7, dtype=torch.bool)
    for s in batches(4, seed=8):
        strategy.observe(s, eye)
    first, second = (strategy.select(s, eye, s.diagonal(), torch.rand(7)).posterior[~eye] for _ in range(2))
    learned = first.mean()
    odds = first / (1 - first) * 0.99 / 0.01 * learned / (1 - learned)
    torch.testing.assert_close(second, odds / (1 + odds))
    before = strategy.state()["prior"]
    strategy.start_epoch()
    assert strategy.state() == {"prior": before}
