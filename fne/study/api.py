"""Configuration of runs: load a study, resolve a variant, digest, blocks of seeds. Typed, strict, torch-free.

``ablations/base.yaml`` states the whole protocol, a file of ``ablations/variants`` one difference from it,
a file of ``ablations/studies`` the data, encoders, variants and seeds that are compared. The rooms behind
this one are in ``fne.study``.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.study.library import Library
from fne.study.loading import list_studies, load, load_study, study_files
from fne.study.series import Series
from fne.study.study import Study, resolve
from fne.study.validate import digest
from fne.study.variants import Variant
from fne.utils.fields import canonical, flatten
from fne.utils.seeds import block_names, parse_block
from fne.utils.yaml_file import set_items

__all__ = [
    "Series",
    "Study",
    "Variant",
    "arguments",
    "blocks",
    "data_section",
    "diff",
    "digest",
    "evaluation_digest",
    "list_studies",
    "list_variants",
    "load",
    "load_study",
    "parse_block",
    "resolve",
    "study_files",
    "training_digest",
]

DEFAULT_STUDY = "paper"


def list_variants(root: Path = Path(".")) -> list[str]:
    """Ids of all variants, sweeps expanded, in order of file name."""
    library = Library(root)
    return [variant for stem in library.stems() for variant in library.members(stem)]


def data_section(study: Study) -> dict[str, Any]:
    """What ``prepare`` reads: the resolved ``data`` section without what encoders alone are pretrained on."""
    return {key: copy.deepcopy(value) for key, value in study.data.items() if key != "pretrain"}


def blocks(study: Study) -> list[str]:
    """Names of the training jobs' blocks of seeds: the sorted seeds cut into runs of ``study.block``.

    Seeds appended after whole blocks leave the earlier names, and so their results, as they are.
    """
    return block_names(study.seeds, study.block)


def training_digest(config: Mapping[str, Any]) -> str:
    """The digest of what training reads: the config without its ``evaluation`` section."""
    kept = {key: value for key, value in config.items() if key != "evaluation"}
    return digest(kept)


def evaluation_digest(config: Mapping[str, Any]) -> str:
    """The digest of what evaluation alone reads, the ``evaluation`` section; relevance files count as given or not."""
    section = config["evaluation"]
    given = sorted(name for name, folder in section.get("relevance", {}).items() if folder is not None)
    return digest({"evaluation": section, "relevance": ",".join(given)})


def diff(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Leaf keys in which two configs differ, with both values; ``None`` where a config has no such key."""
    a, b = flatten(first), flatten(second)
    keys = [*a, *(key for key in b if key not in a)]
    return {key: (a.get(key), b.get(key)) for key in keys if canonical(a.get(key)) != canonical(b.get(key))}


def arguments(study: Study | Series) -> str:
    """The ``--study`` and ``--set`` arguments that make ``fne`` load this very study, quoted for a shell."""
    words = ["--study", study.name]
    for item in set_items(study.overrides):
        words += ["--set", item]
    return shlex.join(words)
