"""Variant files: a delta from a parent each, or one per point of a sweep; read and checked alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fne.study.model import VARIANT_SECTIONS
from fne.study.plugins import KEYS
from fne.utils.errors import bad_input
from fne.utils.fields import Key, Text, check_key, flatten
from fne.utils.models import Section, read_axes, read_section
from fne.utils.names import member_id, member_title, points_of, unknown
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

TEXT = Key(Text)
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
    isolates: list[str]
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


def text_of(content: Mapping[str, Any], key: str, file: Path) -> str:
    """A required, non-empty text of a file."""
    return TEXT.check(content.get(key), file, key)


def read_variants(stem: str, file: Path) -> list[Variant]:
    """The variants of a file: one, or the members of its sweep."""
    if stem == "base":
        raise unknown("variant", stem, file.parent, ())
    content, problems = _renamed(read_mapping(file), file), Problems()
    declared = read_section(VariantFile, content, file, problems)
    delta = _values(content.get("set") or {}, file, problems, "set.")

    def swept_key(key: str) -> Key:
        if key in delta:
            raise bad_input("is in set and in sweep", file=file, key=f"sweep.{key}")
        return variant_field(key, file, "sweep.")

    axes: dict[str, tuple[Any, ...]] = {}
    if content.get("sweep") is not None:
        with problems.collect():
            axes = read_axes(content["sweep"], file, "sweep", swept_key, least=1)
    if declared and len(set(declared.isolates)) < len(declared.isolates):
        problem = "must be a list of distinct dotted keys ([] for none)"
        problems.report(problem, file=file, key="isolates", value=list(declared.isolates))
    for key in declared.isolates if declared else ():
        with problems.collect():
            check_key(key, VARIANT_KEYS, file, f"isolates.{key}")
    problems.raise_any(str(file))
    assert declared is not None
    variants: dict[str, Variant] = {}
    for swept in points_of(axes, file, "sweep"):
        identity = member_id(stem, swept, file)
        if identity in variants:
            hint = f"both would be called {identity}"
            raise bad_input("two members are equal", file=file, key="sweep", value=swept, hint=hint)
        own = {"title": member_title(declared.title, swept), "set": delta | swept}
        variants[identity] = Variant(**{**dict(declared), **own}, id=identity, swept=swept, file=file)
    return list(variants.values())


def _renamed(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """The content with ``question`` where it still uses the old name of that key, ``asks``."""
    if "asks" not in content:
        return content
    if "question" in content:
        problem, hint = "is the old name of question: a file has one of the two", "leave it out"
        raise bad_input(problem, file=file, key="asks", value=content["asks"], hint=hint)
    question = text_of(content, "asks", file)
    return {"question": question} | {key: value for key, value in content.items() if key != "asks"}


def variant_field(key: str, file: Path | str, prefix: str = "") -> Key:
    """What a value of a key may be that a variant or a tuned file may set.

    Raises:
        UserError: Unknown key, or one that belongs to the study.
    """
    if key.partition(".")[0] in ("audit", "data", "encoders", "evaluation", "regime"):
        problem = "belongs to the study: all its variants share it"
        raise bad_input(problem, file=file, key=f"{prefix}{key}", allowed=VARIANT_SECTIONS)
    return check_key(key, VARIANT_KEYS, file, f"{prefix}{key}")


def _values(given: Any, file: Path, problems: Problems, prefix: str) -> dict[str, Any]:
    """The values of keys, those that can be used."""
    flat: dict[str, Any] = {}
    with problems.collect():
        for key, value in flatten(given, file).items() if isinstance(given, dict) else ():
            with problems.collect():
                flat[key] = variant_field(key, file, prefix).check(value, file, f"{prefix}{key}")
    return flat
