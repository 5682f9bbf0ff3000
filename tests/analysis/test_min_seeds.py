"""How many seeds a test needs, against plain counting of sign patterns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fne.analysis.holm import holm
from fne.analysis.permutation import seed_p_value
from fne.utils.min_seeds import ALPHA, EXACT_SEEDS, reachable, seed_floor, seed_note, seeds_needed


@pytest.mark.parametrize("n", [1, 2, 3, 6, 9])
def test_the_floor_is_what_the_most_extreme_result_reaches(n: int) -> None:
    differences = np.arange(1, n + 1) / 10
    patterns = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
                for signs in itertools.product((-1, 1), repeat=n)]  # fmt: skip
    counted = sum(total >= sum(differences) - 1e-9 for total in patterns) / len(patterns)
    assert seed_floor(n) == counted == seed_p_value(differences)[0]


@pytest.mark.parametrize("n", [1, 4, 7])
def test_the_p_value_counts_all_sign_patterns(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.6, 1, n)
    patterns = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=n)]
    exact = np.mean([total >= abs(differences.sum()) - 1e-12 for total in patterns])
    assert seed_p_value(differences) == (pytest.approx(exact, abs=1e-12), seed_floor(n))
    assert seed_p_value(np.zeros(4))[0] == 1.0 and np.isnan(seed_p_value(np.array([]))).all()


@pytest.mark.parametrize("comparisons", [1, 2, 5, 9, 21])
def test_with_so_many_seeds_and_no_fewer_the_strongest_results_are_significant(comparisons: int) -> None:
    needed = seeds_needed(comparisons)
    for n, significant in ((needed, True), (needed - 1, False)):
        p = seed_p_value(np.ones(n))[0]
        assert (holm(np.full(comparisons, p)) <= ALPHA).all() == significant == reachable(n, comparisons)
        assert bool(seed_note(n, comparisons)) == (not significant)


def test_of_too_large_a_family_no_number_of_seeds_shows_anything() -> None:
    assert seeds_needed(1638) == EXACT_SEEDS and seeds_needed(1639) is None
    assert not any(reachable(n, 1639) for n in range(1, 40))
    assert "no number of seeds can reach 0.05" in seed_note(5, 5000)
    assert seed_note(1, 5000).endswith("the exact test over seeds more than it can take")
