"""Two normals with one variance: linear discriminant analysis."""

from __future__ import annotations

from torch import Tensor

from fne.negatives.densities.density import Fitted
from fne.negatives.densities.normal import Normal


class Tied(Normal):
    """As :class:`Normal`, both with ``var = ((n+ - 1) var+ + (n- - 1) var-) / (n+ + n- - 2)``.

    The log odds are linear in s, so the posterior is monotone.

    *Differs from* the release: there each normal has its own variance.

    *Source*: Fisher's linear discriminant; Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 4.3.
    """

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        freedom = {side: (summary[f"{side}_count"] - 1).clamp(min=0) for side in ("pos", "neg")}
        squares = sum(freedom[side] * summary[f"{side}_var"] for side in freedom)
        pooled = squares / (freedom["pos"] + freedom["neg"]).clamp(min=1)
        return super().fit({**summary, "pos_var": pooled, "neg_var": pooled})
