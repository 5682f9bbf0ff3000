"""A loaded study: data, encoders, variants and seeds, and the resolved config of each variant."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.study.published_comparison import PublishedComparison
from fne.study.tuning import Axis, Tuning
from fne.study.variants import Variant
from fne.utils.errors import bad_input
from fne.utils.fields import unflatten


@dataclass(frozen=True)
class Study:
    """One study, loaded and checked.

    Args:
        name: File stem, or id of a member of a series.
        title, question, regime, block, baseline, method, control, as_released, test, tune, published: As of a
            :class:`~fne.study.study_file.StudyFile`, read.
        variants: Ids in the order of the tables, sweeps expanded.
        seeds: Increasing integers >= 0.
        primary: ``{"metric", "protocol", "direction"}``; ``direction`` is ``"both"`` for rsum.
        data: The resolved ``data`` section.
        overrides: What the command line set, dotted.
        configs: The merged config of every variant, flat and pruned.
        library: The variant files behind it, by id, ancestors included.
        tuned: Name of the search whose values it takes, or None.
        draw: Which draw of that search.
        axes: Of a study without its tuned values: what is searched, by variant and key.
        chosen: The values that tuning chose, by variant.
        root: The project's folder.
        known: What its files say of data and encoders, see :mod:`fne.study.paths`.
        notes: What a reader of its results must know before it runs: seeds too few, variants without tuned values.
    """

    name: str
    title: str
    question: str
    regime: str
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    block: int
    baseline: str
    primary: Mapping[str, str]
    data: Mapping[str, Any] = field(repr=False)
    overrides: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]] = field(repr=False)
    library: Mapping[str, Variant] = field(repr=False)
    tuned: str | None
    draw: int = 0
    published: PublishedComparison | None = None
    test: str = "images"
    tune: Tuning | None = None
    axes: Mapping[str, Mapping[str, Axis]] = field(default_factory=dict, repr=False)
    method: str | None = None
    control: str | None = None
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    as_released: bool = False
    root: Path = Path(".")
    known: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[str, ...]:
        """The variants that train anything."""
        return tuple(variant for variant in self.variants if trains(self.configs[variant], self.regime))

    @property
    def compared(self) -> tuple[str, ...]:
        """The variants that are compared with the baseline: the scores before training are shown beside them."""
        return tuple(variant for variant in self.trained if variant != self.baseline)


def trains(flat: Mapping[str, Any], regime: str) -> bool:
    """Does a flat config train anything, head or encoder?"""
    return flat["model.head"] != "none" if regime == "head" else flat["finetune.trained"] != "nothing"


def resolve(study: Study, variant: str) -> dict[str, Any]:
    """The whole config of one variant: nested sections and ``regime``, without options that nothing reads.

    Raises:
        UserError: The variant is not in the study.
    """
    if variant not in study.configs:
        raise bad_input("is not a variant of this study", file=study.name, value=variant, allowed=study.variants)
    flat = study.configs[variant]
    return {"regime": study.regime} | unflatten({key: copy.copy(value) for key, value in flat.items()})


def data_section(study: Study) -> dict[str, Any]:
    """What ``prepare`` reads: the resolved ``data`` section without what encoders alone are pretrained on."""
    return {key: copy.deepcopy(value) for key, value in study.data.items() if key != "pretrain"}
