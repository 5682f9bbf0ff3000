"""Intervals, paired contrasts and permutation tests at the size of a large study: seconds and memory.

Made-up hits of 5,000 images, one query each; every variant against the first. What it prints is kept in
``statistics.md``:

    python workflow/benchmarks/statistics.py > workflow/benchmarks/statistics.md
"""

from __future__ import annotations

import argparse
import os
import resource
import time

import numpy as np

from fne.analysis.holm import holm
from fne.analysis.intervals import RESAMPLES, hierarchical_intervals
from fne.analysis.permutation import image_p_values, seed_p_value
from fne.utils.min_seeds import FLIPS
from fne.utils.provenance import cpu_model

MIB = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--metrics", type=int, default=14, help="columns a variant")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (given.seeds, given.images, given.variants, given.metrics)
    skill = np.linspace(0.3, 0.5, given.variants)[:, None] + 0.1 * rng.normal(size=(given.images, 1, 1))
    values = (rng.random(shape, dtype=np.float32) < skill).astype(np.float64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    wall, cpu = time.perf_counter(), time.process_time()
    hierarchical_intervals(values.reshape(given.seeds, given.images, -1))
    differences = values[:, :, 1:] - values[:, :, :1]
    flat = differences.reshape(given.seeds, given.images, -1)
    hierarchical_intervals(flat)
    p_values = image_p_values(flat.mean(axis=0))
    holm(p_values[:: given.metrics])
    for column in range(flat.shape[2]):
        seed_p_value(flat[:, :, column].mean(axis=1))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"# Statistics of a large study: seconds and memory\n\n{given.variants} variants x {given.seeds} seeds x "
        f"{given.images:,} images x {given.metrics} metric{'s' if given.metrics > 1 else ''}: intervals of every mean "
        f"and of every paired difference ({RESAMPLES:,} resamples), permutation tests ({FLIPS:,} sign patterns), tests "
        f"over seeds, Holm.\n\n{wall:.1f} s elapsed, {cpu:.1f} s of processor time on {cores} cores "
        f"(load {os.getloadavg()[0]:.1f}); peak memory {peak:.0f} MiB, of which {before:.0f} MiB were there before "
        f"(Python, NumPy, the values). {cpu_model()}."
    )


if __name__ == "__main__":
    main()
