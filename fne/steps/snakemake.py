"""What is requested of the workflow: the study and the values of ``snakemake --config``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fne.study.api import DEFAULT_STUDY, list_studies
from fne.study.paths import FLAT_KEYS
from fne.study.study_file import STUDY_LEVEL
from fne.utils.errors import bad_input
from fne.utils.fields import flatten
from fne.utils.yaml_file import parse


def from_snakemake(
    config: Mapping[str, Any], root: Path = Path("."), *, extra: Collection[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The name and the overrides of the study or series that ``snakemake --config`` requests.

    Args:
        config: Snakemake's config: ``study``, ``seeds``, ``block``, ``variants``, ``baseline``; ``images``,
            ``annotations``, ``crowdflower``, ``expert``, ``eccv``, ``cxc``, ``sits``, ``image_encoder``,
            ``text_encoder``; and ``set``, a mapping of dotted config keys to values.
        root: The project's folder.
        extra: Keys that the workflow itself reads; they are passed over.

    Raises:
        UserError: Unknown key (names the nearest), a key that is set twice, or no name of a study.
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
            raise bad_input("is set twice, by its short name and in set", file="--config", key=key)
        # Snakemake reads the values inside a mapping as text.
        overrides[key] = parse(value, f"--config set: {key}") if isinstance(value, str) else value
    name = config.get("study", DEFAULT_STUDY)
    if not isinstance(name, str):
        raise bad_input(
            "must be the name of a study", file="--config", key="study", value=name, allowed=list_studies(root)
        )
    return name, overrides


def shard_of(variants: Sequence[str], shard: Any) -> Sequence[str]:
    """The variants of one of several calls that share a study.

    Args:
        variants: Of the study.
        shard: Of ``--config shard=K/N``: the Kth of each N variants; None: all.

    Raises:
        UserError: It is something else, or a call would have no variant.
    """
    if shard is None:
        return variants
    place, _, of = str(shard).partition("/")
    if not (place.isdecimal() and of.isdecimal() and 1 <= int(place) <= int(of) <= len(variants)):
        allowed = f"K/N, K from 1 to N, N at most {len(variants)}, the number of variants"
        raise bad_input("is no part of the study", file="--config", key="shard", value=shard, allowed=allowed)
    return variants[int(place) - 1 :: int(of)]
