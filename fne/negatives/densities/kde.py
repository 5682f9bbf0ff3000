"""Two kernel density estimates: no shape assumed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fne.negatives.densities.density import Density, Fitted, interpolated
from fne.negatives.statistics import BINS, WIDTH


class KernelDensity(Density):
    """``f(s) = 1/n sum_t N(s; x_t, h^2)`` over the binned similarities x_t, Gaussian kernel.

    The bandwidth is the normal reference rule, ``h = sd (4/(3 n))^(1/5)`` (1.06 sd n^(-1/5); what scipy and R's
    ``bw.nrd`` without its quartiles call Silverman's), but at least half a bin. f is worked out at the centres of the
    bins; the log odds are linear between them. Where both densities underflow (some 37 h from any data) the posterior
    is the prior. Mass beyond -1 and 1 is not folded back.

    *Source*: Silverman, Density Estimation, 1986, equation 3.28.
    """

    histograms = True

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        pos, neg = (
            _log_density(summary[f"{side}_histogram"], summary[f"{side}_count"], summary[f"{side}_var"])
            for side in ("pos", "neg")
        )
        return {"log_ratio": pos - neg}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        table = fitted["log_ratio"]
        table = table + (prior.unsqueeze(-1) if isinstance(prior, Tensor) else prior)
        return interpolated(table, similarities)


def _log_density(counts: Tensor, count: Tensor, variance: Tensor) -> Tensor:
    """(..., BINS) log f at the centres of the bins."""
    count = count.clamp(min=1)
    bandwidth = (variance.clamp(min=0).sqrt() * (4 / (3 * count)) ** 0.2).clamp(min=WIDTH / 2).unsqueeze(-1)
    offsets = torch.arange(1 - BINS, BINS, dtype=counts.dtype, device=counts.device) * WIDTH
    kernel = torch.exp(-0.5 * (offsets / bandwidth).square()) / (bandwidth * math.sqrt(2 * math.pi))
    # unfold gives row i the kernel at the offsets i - j, with j running backwards: a convolution as one product, whose
    # terms are all positive, so that tails stay exact (a Fourier transform would drown them in rounding).
    density = (kernel.unfold(-1, BINS, 1) @ counts.flip(-1).unsqueeze(-1)).squeeze(-1) / count.unsqueeze(-1)
    return density.clamp(min=torch.finfo(density.dtype).tiny).log()
