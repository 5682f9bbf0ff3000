"""What a study's files say, as small typed records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.utils.errors import UserError
from fne.utils.files import MOST_RECORD, read_json, read_record
from fne.utils.shape import ANY

CONFIG = {"evaluation": {"relevance?": {ANY: {str, None}}}}
RUN = {
    "title": str,
    "seeds": [int],
    "config": CONFIG,
    "digest": str,
    "code": str,
    "fingerprints": {ANY: str},
    "selection": {"rule": str, "per_seed": [{"seed": int, "epoch": int}]},
    "picks?": {"share_of_all_picks?": {float, None}},
    "cost": {"seconds_total": float, "steps": int, "seconds_per_step": float},
    "record": {
        "python?": str,
        "packages?": {ANY: {str, None}},
        "commit?": {str, None},
        "finished?": str,
        "kernel_switches?": {dict, None},
    },
}
"""What is read of a ``run.json``."""
SIDES = {"i2t": int, "t2i": int}
PROTOCOLS = {
    ANY: {
        **dict.fromkeys(("id", "name", "dataset", "split", "relevance"), str),
        "queries": SIDES,
        "gallery": SIDES,
        "captions_per_image": [int],
    }
}
"""What is read of a ``protocols.json``."""
POPULATIONS = ("positives", "hard_negatives", "false_negatives", "all_negatives")
FIT = dict.fromkeys(("pos_mean", "pos_var", "neg_mean", "neg_var"), {float, None})
DISTRIBUTIONS = [
    {"seed": int, "bins": [float], **dict.fromkeys(POPULATIONS, [float]), "fit": (FIT,), "prior": {float, None}}
]
"""What is read of a ``distributions.json``."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; ``low`` and ``high`` are NaN where none could be computed.

    ``low_elsewhere`` and ``high_elsewhere``: the second interval (:mod:`fne.results.elsewhere`), NaN where not known.
    """

    mean: float
    low: float
    high: float
    n_seeds: int
    n_queries: int
    level: float
    method: str
    low_elsewhere: float = math.nan
    high_elsewhere: float = math.nan


@dataclass(frozen=True)
class Contrast:
    """A paired difference ``variant - baseline``, its interval and p values (NaN: no test was possible).

    ``p_holm`` is of the test that the study declares, after Holm's correction; ``p_holm_floor`` the least value that it
    can take where signs are drawn at random, 0 where all of them are counted; ``p_floor`` the same of ``p_seed``.
    ``low_elsewhere`` and ``high_elsewhere`` are as of :class:`Estimate`.
    """

    variant: str
    baseline: str
    difference: float
    low: float
    high: float
    p_query: float
    p_holm: float
    p_holm_floor: float
    p_seed: float
    p_floor: float
    n_seeds: int
    note: str
    low_elsewhere: float = math.nan
    high_elsewhere: float = math.nan

    @property
    def separated(self) -> bool:
        """Does the interval exclude zero?"""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Variant:
    """One variant of a study as it was run.

    Args:
        id: File stem of the variant.
        title: What a reader sees.
        question: The question it answers.
        runs: The ``run.json`` of every finished block of seeds, in order of their first seed.
        folders: The folders of those blocks.
    """

    id: str
    title: str
    question: str
    runs: tuple[dict[str, Any], ...]
    folders: tuple[Path, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were trained."""
        return tuple(sorted(int(seed) for run in self.runs for seed in run["seeds"]))

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config that was run; empty when nothing was."""
        return self.runs[0]["config"] if self.runs else {}


def read_run(path: Path) -> dict[str, Any]:
    """Read a ``run.json``.

    Raises:
        UserError: It is not sound, or of another schema than this version reads.
    """
    hint = "train this variant again with this version, or read it with the version that made it"
    return read_record(path, "run", RUN, hint)


def peek(path: Path) -> dict[str, Any]:
    """A record as far as it can be read: empty where there is none, or a damaged one, which whoever needs it names."""
    try:
        content = read_json(path, most=MOST_RECORD)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
