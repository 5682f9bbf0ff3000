"""False Negative Elimination: a reproducibility and ablation-study harness for image-text retrieval.

Importing this package, ``fne.study.api`` or ``fne.study.paths`` imports no torch: Snakemake does so at every dry run.
"""

__version__ = "0.1.0"

PROTOCOL = 2
"""Version of what a training run means. Raised by hand whenever an edit of the code changes training results;
every training rule carries it in its ``params``, so that raising it re-trains everything."""
