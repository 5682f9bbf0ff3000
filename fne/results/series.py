"""What the tables of a series are called by, and which of its variants know the truth."""

from __future__ import annotations

from fne.results.configs import oracle_bases
from fne.study.api import Study

LEVEL, DIFFERENCE = "level", "difference"
"""What is decomposed: a variant's score, or its difference to the baseline, paired by seed."""
ANOTHER = "another"
"""As a source: what another cell adds, the sum of the factors and their interaction."""
MEAN = "mean"
"""As a direction: the mean of both."""


def ceiling(study: Study) -> str | None:
    """The oracle that says what could be gained: it never picks a false negative and is else the baseline.

    Where the baseline has no such variant, the first variant with this oracle; ``None`` where there is none.
    """
    result, bases = oracles(study, "remove"), oracle_bases(study)
    own = [variant for variant in result if bases.get(variant) == study.baseline]
    return next(iter(own or result), None)


def oracles(study: Study, kind: str | None = None) -> list[str]:
    """Variants that know the truth: with the oracle ``remove``, ``only``, or any of them."""
    summary = {variant: study.configs[variant]["negatives.oracle"] for variant in study.variants}
    return [variant for variant, oracle in summary.items() if (oracle == kind if kind else oracle != "none")]
