"""Configuration of runs: load a study, resolve a variant, digest, blocks of seeds. Typed, strict, torch-free.

``ablations/base.yaml`` states the whole protocol, a file of ``ablations/variants`` one difference from it,
a file of ``ablations/studies`` the data, encoders, variants and seeds that are compared. The rooms behind
this one are in ``fne.study``.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fne.study.library import Library
from fne.study.loading import list_studies, load, load_study, study_files
from fne.study.seeds import block_names, parse_block
from fne.study.series import Series
from fne.study.study import Study, oracle_bases, resolve, shared_epochs
from fne.study.study_file import STUDY_LEVEL
from fne.study.validate import FLAT_KEYS, canonical, digest
from fne.study.variants import Variant
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import flatten, yaml_number
from fne.utils.yaml_file import parse

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
    "from_snakemake",
    "list_studies",
    "list_variants",
    "load",
    "load_study",
    "oracle_bases",
    "parse_block",
    "parse_set",
    "resolve",
    "set_items",
    "shared_epochs",
    "study_files",
    "training_digest",
    "validate_study",
    "variant_of",
]

DEFAULT_STUDY = "paper"


def list_variants(root: Path = Path(".")) -> list[str]:
    """Ids of all variants, sweeps expanded, in order of file name."""
    library = Library(root)
    return [variant for stem in library.stems() for variant in library.members(stem)]


def validate_study(name: str, overrides: Mapping[str, Any] | None = None, root: Path = Path(".")) -> None:
    """Check everything a study states, apart from what only a user can give (paths, encoders).

    Raises:
        UserError: Lists everything that is wrong.
    """
    load_study(name, overrides, root, complete=False)


def variant_of(study: Study, variant: str) -> Variant:
    """Title, question, parent and role of a variant of the study.

    Raises:
        UserError: The variant is not in the study.
    """
    if variant not in study.variants:
        raise bad_input("is not a variant of this study", file=study.name, value=variant, allowed=study.variants)
    return study.library[variant]


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


def parse_set(items: Collection[str]) -> dict[str, Any]:
    """Overrides from ``dotted.key=value`` texts; the value is read as YAML.

    Raises:
        UserError: An item without ``=``, a value that is not YAML, or a key given twice.
    """
    overrides: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise bad_input("must read key=value", file="command line", key="--set", value=item)
        if key in overrides:
            raise bad_input("is given twice", file="command line", key=f"--set {key}")
        overrides[key] = parse(text, f"command line: --set {key}")
    return overrides


def from_snakemake(
    config: Mapping[str, Any], root: Path = Path("."), *, extra: Collection[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The name and the overrides of the study or series that ``snakemake --config`` asks for.

    Args:
        config: Snakemake's config: ``study``, ``seeds``, ``block``, ``variants``, ``baseline``; ``images``,
            ``annotations``, ``crowdflower``, ``expert``, ``eccv``, ``cxc``, ``sits``, ``image_encoder``,
            ``text_encoder``; and ``set``, a mapping of dotted config keys to values.
        root: The project's folder.
        extra: Keys that the workflow itself reads; they are passed over.

    Raises:
        UserError: Unknown key (names the nearest), a key given twice, or no name of a study.
    """
    overrides: dict[str, Any] = {}
    allowed = ("study", *STUDY_LEVEL, *FLAT_KEYS, "set", *extra)
    for key, value in config.items():
        if key not in allowed:
            raise bad_input("unknown key", file="--config", key=str(key), value=str(key), allowed=allowed)
        if key in STUDY_LEVEL:
            overrides[key] = list(value) if isinstance(value, tuple) else value
        elif key in FLAT_KEYS:
            overrides[FLAT_KEYS[key]] = value if value is None else str(value)
    given = config.get("set") or {}
    if not isinstance(given, Mapping):
        raise bad_input("must be a mapping of dotted keys to values", file="--config", key="set", value=given)
    for key, value in flatten(given, "--config set").items():
        if key in overrides:
            raise bad_input("is given twice, by its short name and in set", file="--config", key=key)
        # Snakemake reads the values inside a mapping as text.
        overrides[key] = parse(value, f"--config set: {key}") if isinstance(value, str) else value
    name = config.get("study", DEFAULT_STUDY)
    if not isinstance(name, str):
        raise bad_input(
            "must be the name of a study",
            file="--config",
            key="study",
            value=name,
            allowed=list_studies(root),
        )
    return name, overrides


def arguments(study: Study | Series) -> str:
    """The ``--study`` and ``--set`` arguments that make ``fne`` load this very study, quoted for a shell."""
    words = ["--study", study.name]
    for item in set_items(study.overrides):
        words += ["--set", item]
    return shlex.join(words)


def set_items(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as the texts ``key=value`` that :func:`parse_set` reads back."""
    return [f"{key}={_yaml_text(value)}" for key, value in overrides.items()]


def _yaml_text(value: Any) -> str:
    """A value as text that :func:`parse_set` reads back."""
    if isinstance(value, float):
        return yaml_number(value)
    if isinstance(value, str):
        try:
            plain = parse(value, "") == value
        except UserError:
            plain = False
        return value if plain else canonical(value)
    return canonical(value)
