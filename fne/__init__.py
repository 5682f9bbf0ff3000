"""False Negative Elimination: a reproducibility and ablation-study harness for image-text retrieval.

Importing this package, ``fne.study.api`` or ``fne.study.paths`` imports no torch: Snakemake does so at every dry run.

>>> import fne
>>> fne.__version__.count(".")
2
"""

__version__ = "0.2.0"
