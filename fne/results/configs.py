"""What the configs of a study's variants have in common, and which differ in one thing alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.study.study import Study
from fne.utils.fields import canonical, flatten


def shared_epochs(*studies: Study) -> range:
    """The epochs, from 0, that are of the main phase in every trained variant of some studies; empty where none is.

    What is picked changes as training goes on, so shares of picks are compared over these alone.
    """
    configs = [study.configs[variant] for study in studies for variant in study.trained]
    return range(max(item["warmup.epochs"] for item in configs), min(item["train.epochs"] for item in configs))


def oracle_bases(study: Study) -> dict[str, str]:
    """Variants with an oracle whose config without it is that of another variant of the study, and that variant."""
    result = {}
    for variant in study.variants:
        without = {**study.configs[variant], "negatives.oracle": "none"}
        base = next((other for other in study.variants if other != variant and study.configs[other] == without), None)
        if base is not None:
            result[variant] = base
    return result


def diff(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Leaf keys in which two configs differ, with both values; ``None`` where a config has no such key."""
    a, b = flatten(first), flatten(second)
    keys = [*a, *(key for key in b if key not in a)]
    return {key: (a.get(key), b.get(key)) for key in keys if canonical(a.get(key)) != canonical(b.get(key))}
