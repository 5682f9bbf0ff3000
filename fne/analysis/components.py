"""Components of variance: how much of a score comes from the training seed, the test images and each further factor.

A *cell* is one point of a design of factors (an encoder draw, a world), trained from several seeds. For cell c, the
score of seed s is

    y_cs = mu + sum_f A_f(c) + D_c + I_c + S_cs,

with A_f the effect of the level that factor f has in the cell, D the cell's own deviation (all interactions of the
factors), I that of the test images and S that of the training seed: independent, normal, with mean 0. What the images
add is known: they are a sample, so the covariance of I between cells that share them is that of the influence values
over images, divided by their number; cells of different test sets have none.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SEED, IMAGES, INTERACTION, ANOTHER = "seed", "images", "interaction", "another"


@dataclass(frozen=True)
class Cell:
    """One point of the design.

    Args:
        point: Level of each factor, such as ``{"encoders.draw": 2, "data.seed": 0}``.
        values: (n, N): influence values of seed and test image, whose mean over images is the seed's score
            (``Layout.influence[:, :, column]``, or the difference of two variants', paired by seed).
    """

    point: Mapping[str, Hashable]
    values: np.ndarray


@dataclass(frozen=True)
class Component:
    """A variance, its 95 % interval, and the standard error of the estimate; in the score's unit, squared."""

    variance: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Components:
    """What :func:`decompose` finds.

    Attributes:
        sources: A component of ``"seed"`` (one run), ``"images"`` (one test set), each factor by its name,
            ``"interaction"`` where the design can distinguish it from the factors, and ``"another"``: the sum of
            factors and interaction, which is the variance of a cell's expected score.
        cells: Cells of the design.
        runs: Seeds over all cells.
    """

    sources: Mapping[str, Component]
    cells: int
    runs: int


def decompose(cells: Sequence[Cell], factors: Sequence[str], *, images: Sequence[str] | None = None) -> Components:
    """Components of variance of one score.

    Args:
        cells: Of any design, balanced or not; numbers of seeds may differ.
        factors: Names of the random factors; every cell's ``point`` holds a level of each.
        images: The factors on which the test images depend; ``None``: those whose name begins with ``data.``.
    """
    return pool([cells], factors, images=images)


def pool(
    scores: Sequence[Sequence[Cell]], factors: Sequence[str], *, images: Sequence[str] | None = None
) -> Components:
    """One set of components for several scores, such as the differences of a study, which may be correlated.

    Args:
        scores: Cells of each score.
        factors, images: As of :func:`decompose`.
    """
    raise NotImplementedError
