"""Which similarities the statistics hold: populations of negatives, fading, histograms; and the estimated prior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fne.negatives.prior import EMPrior
from fne.negatives.statistics import BINS, WIDTH, PairStatistics
from tests.negatives.released import fne


def batches(count: int, size: int = 7, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        s = rng.uniform(-0.9, 0.9, (size, size))
        s[range(size), range(size)] += 0.8 * (rng.random(size) < 0.7)
        out.append(torch.from_numpy(s))
    return out


def assert_holds(summary: dict, side: str, values: list[float]) -> None:
    """Count and mean of plain values; the variance is compared where one batch was added (then it is the usual one)."""
    assert summary[f"{side}_count"].item() == len(values)
    assert summary[f"{side}_mean"].item() == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("mask", ["diagonal", "same_image"])
def test_population_batch_is_every_unmasked_entry_once(mask: str) -> None:
    same = torch.eye(7, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    strategy, seen = fne(population="batch", statistics_mask=mask), []
    for s in batches(2):
        strategy.observe(s, same)
        seen += [
            s[i, j].item() for i in range(7) for j in range(7) if i != j and (mask == "diagonal" or not same[i, j])
        ]
    summary = strategy.statistics.summary()
    assert_holds(summary, "neg", seen)
    item = fne(population="batch", statistics_mask=mask)
    item.observe(batches(1)[0], same)
    first = seen[: len(seen) // 2]
    assert item.statistics.summary()["neg_var"].item() == pytest.approx(np.var(first, ddof=1), abs=1e-12)


def test_population_queue_is_every_candidate_of_both_directions() -> None:
    strategy = fne(population="queue", min_positives=2)
    online = batches(1)[0]
    strategy.observe(online, torch.eye(7, dtype=torch.bool))
    assert strategy.statistics.summary()["neg_count"].item() == 0
    rng, seen = np.random.default_rng(3), []
    for _ in range(2):
        similarities = torch.from_numpy(rng.uniform(-1, 1, (7, 12)))
        similarities[2, 5] = torch.nan
        excluded = torch.from_numpy(rng.random((7, 12)) < 0.3)
        strategy.select(similarities, excluded, torch.full((7,), 0.5).double(), torch.rand(7))
        seen += [s for s, out in zip(similarities.flatten().tolist(), excluded.flatten().tolist(), strict=True)
                 if not out and not math.isnan(s)]  # fmt: skip
        assert_holds(strategy.statistics.summary(), "neg", seen)


def test_without_elimination_only_the_positives_are_counted() -> None:
    strategy = fne(elimination="none")
    strategy.observe(batches(1)[0], torch.eye(7, dtype=torch.bool))
    summary = strategy.statistics.summary()
    assert summary["pos_count"].item() > 0 and summary["neg_count"].item() == 0
    idle = fne(elimination="none", cut_down="anchor")
    idle.observe(batches(1)[0], torch.eye(7, dtype=torch.bool))
    assert idle.state() == {}


def test_ema_weighs_each_step_by_its_age() -> None:
    strategy = fne(statistics_reset="ema", statistics_decay=0.8, density="kde")
    result = batches(5, seed=4)
    weight = {"pos": [], "neg": []}
    for step, s in enumerate(result):
        strategy.start_epoch()
        strategy.observe(s, torch.eye(7, dtype=torch.bool))
        alone = PairStatistics(histograms=True)
        alone.update(s, torch.eye(7, dtype=torch.bool))
        for side in weight:
            item = alone.summary()
            weight[side].append(
                (0.8 ** (4 - step), *(item[f"{side}_{name}"] for name in ("count", "mean", "histogram")))
            )
    summary = strategy.statistics.summary()
    for side, rows in weight.items():
        count = sum(w * n for w, n, _, _ in rows)
        assert summary[f"{side}_count"].item() == pytest.approx(count.item())
        assert summary[f"{side}_mean"].item() == pytest.approx((sum(w * n * m for w, n, m, _ in rows) / count).item())
        torch.testing.assert_close(summary[f"{side}_histogram"], sum(w * h for w, _, _, h in rows))


def test_fading_alone_moves_no_mean() -> None:
    """Batches without a reliable positive: the faded count falls below 1, the mean of what was counted stays."""
    statistics, eye = PairStatistics(), torch.eye(2, dtype=torch.bool)
    statistics.update(torch.tensor([[0.5, 0.1], [0.4, 0.3]], dtype=torch.float64), eye)
    assert statistics.summary()["pos_count"].item() == 1, "the second pair is not the maximum of its row"
    before = statistics.summary()
    for _ in range(3):
        statistics.fade(0.9)
        statistics.update(torch.tensor([[0.1, 0.5], [0.5, 0.1]], dtype=torch.float64), eye)
    after = statistics.summary()
    assert after["pos_count"].item() == pytest.approx(0.9**3)
    for name in ("pos_mean", "neg_mean"):
        assert after[name].item() == pytest.approx(before[name].item())


def test_ema_variance_equals_plain_loops() -> None:
    """Squared deviations from the mean right after each batch, as released, faded with their counts."""
    statistics, squares, count, mean = PairStatistics(), 0.0, 0.0, 0.0
    for s in batches(4, seed=5):
        statistics.fade(0.7)
        statistics.update(s, torch.eye(7, dtype=torch.bool))
        values = [s[i, i].item() for i in range(7) if s[i].argmax() == i and s[:, i].argmax() == i]
        squares, before = squares * 0.7, count * 0.7
        count = before + len(values)
        mean = (mean * before + sum(values)) / count
        squares += sum((x - mean) ** 2 for x in values)
    assert statistics.summary()["pos_var"].item() == pytest.approx(squares / (count - 1), abs=1e-12)


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


def test_state_of_another_kind_is_refused() -> None:
    plain = PairStatistics()
    plain.update(batches(1)[0], torch.eye(7, dtype=torch.bool))
    with pytest.raises(ValueError, match="histogram"):
        PairStatistics(histograms=True).load_state(plain.state())


def test_online_em_reaches_what_batch_em_reaches() -> None:
    rng = np.random.default_rng(6)
    truth = 0.04
    false = rng.random(20_000) < truth
    s = np.where(false, rng.normal(0.6, 0.08, 20_000), rng.normal(0.3, 0.1, 20_000))

    def posterior(pi: float) -> np.ndarray:
        pos = np.exp(-((s - 0.6) ** 2) / (2 * 0.08**2)) / 0.08
        neg = np.exp(-((s - 0.3) ** 2) / (2 * 0.1**2)) / 0.1
        return pi * pos / (pi * pos + (1 - pi) * neg)

    exact = 1e-4
    for _ in range(500):
        exact = float(posterior(exact).mean())
    assert exact == pytest.approx(truth, abs=0.006)

    ready, counted = torch.tensor(True), torch.ones(1, 20_000, dtype=torch.bool)
    whole = EMPrior(1e-4, 1.0, 1e-6, 0.5)
    for _ in range(500):
        whole.learn(torch.from_numpy(posterior(whole.value(ready).item())).unsqueeze(0), counted, ready)
    assert whole.value(ready).item() == pytest.approx(exact, rel=1e-9)

    online, seen = EMPrior(1e-4, 0.05, 1e-6, 0.5), []
    for _ in range(600):
        some = torch.from_numpy(rng.integers(0, 20_000, 2_000))
        p = torch.from_numpy(posterior(online.value(ready).item()))[some].unsqueeze(0)
        online.learn(p, counted[:, :2_000], ready)
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


def test_fne_uses_the_prior_that_em_found_and_keeps_it_over_epochs() -> None:
    strategy = fne(prior_rule="em", prior=0.01, prior_rate=1.0, min_positives=2)
    eye = torch.eye(7, dtype=torch.bool)
    for s in batches(4, seed=8):
        strategy.observe(s, eye)
    inputs = (s, eye, s.diagonal(), torch.rand(7))
    first = strategy.select(*inputs).posterior
    assert strategy.state()["prior"].item() == pytest.approx(first[~eye].mean().item())
    second = strategy.select(*inputs).posterior
    odds = (first / (1 - first))[~eye] * 0.99 / 0.01
    learned = first[~eye].mean()
    expected = odds * learned / (1 - learned)
    torch.testing.assert_close(second[~eye], expected / (1 + expected))
    before = strategy.state()["prior"].item()
    strategy.start_epoch()
    assert strategy.state() == {"prior": torch.tensor(before, dtype=torch.float64)}
