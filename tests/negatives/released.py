"""The strategy as released, and with any of its options changed; its statistics by plain loops."""

from __future__ import annotations

from typing import Any

from fne.negatives.fne import FalseNegativeElimination


def moments(batches: list[list[list[float]]]) -> dict[str, tuple[int, float, float]]:
    """Count, mean and variance of reliable positives and of their hardest negatives, as released, by plain loops."""
    sums = {"pos": [0, 0.0, 0.0], "neg": [0, 0.0, 0.0]}
    for s in batches:
        n, new = len(s), {"pos": [], "neg": []}
        for i in range(n):
            column = [s[k][i] for k in range(n)]
            if s[i].index(max(s[i])) == i and column.index(max(column)) == i:
                new["pos"].append(s[i][i])
                new["neg"].append(max(0.0 if k == i else s[i][k] for k in range(n)))
                new["neg"].append(max(0.0 if k == i else column[k] for k in range(n)))
        for side, values in new.items():
            state = sums[side]
            state[0], state[1] = state[0] + len(values), state[1] + sum(values)
            mean = state[1] / max(state[0], 1)
            state[2] += sum((value - mean) ** 2 for value in values)
    return {side: (count, total / count, squares / (count - 1)) for side, (count, total, squares) in sums.items()}


def fne(margin: float = 0.2, **changed: Any) -> FalseNegativeElimination:
    """Built as a run builds it."""
    return FalseNegativeElimination(**{"margin": margin, "recalibration_images": 60, **changed})
