"""Variant files: a delta from a parent each, or one per point of a sweep; read and checked alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fne.study.model import VARIANT_SECTIONS
from fne.study.plugins import KEYS
from fne.utils.errors import bad_input
from fne.utils.fields import Distinct, Key, Text, check_key, flatten
from fne.utils.models import Section, read_axes, read_section
from fne.utils.names import member_id, member_title, points_of, unknown
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

VARIANT_KEYS = {key: field for key, field in KEYS.items() if key.partition(".")[0] in VARIANT_SECTIONS}


class VariantFile(Section):
    """A file of ``ablations/variants``.

    Args:
        title: Name for tables.
        question: The question it answers.
        parent: Id of the variant it differs from, or ``"base"``.
        set: Its delta, nested or dotted.
        isolates: Keys it claims to change (over all members of a sweep).
        role: What it is for.
        sweep: Keys and the values of each, of which every combination is a variant.
    """

    title: Text
    question: Text
    parent: Text
    set: dict[str, Any] = {}
    isolates: Annotated[list[str], Distinct]
    role: Literal["scientific", "nuisance", "control"]
    sweep: Any = None


class Variant(VariantFile):
    """One variant: its file as it is, or one member of its sweep.

    Args:
        id: File stem, with ``--<key>-<value>`` per swept key.
        swept: The part of ``set``, which is flat, that comes from the sweep.
        file: Where it stands.
    """

    id: str
    swept: dict[str, Any]
    file: Path


def read_variants(stem: str, file: Path) -> list[Variant]:
    """The variants of a file: one, or the members of its sweep."""
    if stem == "base":
        raise unknown("variant", stem, file.parent, ())
    content, problems = read_mapping(file), Problems()
    declared = read_section(VariantFile, content, file, problems)
    problems.raise_any(str(file))
    assert declared is not None
    delta, axes = check_values(flatten(declared.set, file), file, problems, "set."), {}

    def swept_key(key: str) -> Key:
        if key in delta:
            raise bad_input("is in set and in sweep", file=file, key=f"sweep.{key}")
        return variant_field(key, file, "sweep.")

    if declared.sweep is not None:
        with problems.collect():
            axes = read_axes(declared.sweep, file, "sweep", swept_key, least=1)
    for key in declared.isolates:
        with problems.collect():
            check_key(key, VARIANT_KEYS, file, f"isolates.{key}")
    problems.raise_any(str(file))
    variants = []
    for swept in points_of(axes, file, "sweep"):
        own = {"title": member_title(declared.title, swept), "set": delta | swept}
        identity = member_id(stem, swept, file)
        variants.append(Variant(**{**dict(declared), **own}, id=identity, swept=swept, file=file))
    return variants


def variant_field(key: str, file: Path | str, prefix: str = "") -> Key:
    """What a value of a key may be that a variant or a tuned file may set.

    Raises:
        UserError: Unknown key, or one that belongs to the study.
    """
    if key.partition(".")[0] in ("audit", "data", "encoders", "evaluation", "regime"):
        problem = "belongs to the study: all its variants share it"
        raise bad_input(problem, file=file, key=f"{prefix}{key}", allowed=VARIANT_SECTIONS)
    return check_key(key, VARIANT_KEYS, file, f"{prefix}{key}")


def check_values(given: Mapping[str, Any], file: Path, problems: Problems, prefix: str) -> dict[str, Any]:
    """The values of dotted keys that a variant or a tuned file sets, those that can be used."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        with problems.collect():
            values[key] = variant_field(key, file, prefix).check(value, file, f"{prefix}{key}")
    return values
