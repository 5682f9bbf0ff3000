"""Variant files: a delta from a parent each, or one per point of a sweep; read and checked alone."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fne.study.model import KEYS, VARIANT_SECTIONS
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import Key, Text, check_key, flatten
from fne.utils.files import sha256_text
from fne.utils.models import Section, read_section
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

RANDOM_FACTORS = {"encoders.draw": "encoder draw", "data.seed": "world"}
"""Factors of a study whose values are a sample of many, and what each is called."""
STEM = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
LONGEST, MOST = 200, 1000
"""Characters of an id, which names a folder (file systems take 255), and members of a sweep or study with factors."""
TEXT = Key(Text)
VARIANT_KEYS = {key: field for key, field in KEYS.items() if key.partition(".")[0] in VARIANT_SECTIONS}


class VariantFile(Section):
    """A file of ``ablations/variants``.

    Args:
        title: Name for tables.
        asks: The question it answers.
        parent: Id of the variant it differs from, or ``"base"``.
        set: Its delta, nested or dotted.
        isolates: Keys it claims to change (over all members of a sweep).
        role: What it is for.
        sweep: Keys and the values of each, of which every combination is a variant.
    """

    title: Text
    asks: Text
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


def named_files(folder: Path) -> dict[str, Path]:
    """Files of a folder that a name can mean, by stem, in order."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if STEM.fullmatch(path.stem)}


def unknown(kind: str, name: str, folder: Path, allowed: Iterable[str], **where: Any) -> UserError:
    """The error that no ``kind`` is called ``name``; or that a file is, and cannot be."""
    misnamed = next((path for path in folder.glob("*.yaml") if path.stem == name), None)
    if misnamed:
        allowed = "lower-case letters, digits and _, at most 100; not 'base'"
        return bad_input(f"not a {kind}'s name", file=misnamed, value=name, allowed=allowed)
    hint = f"each is a file of {folder}"
    return bad_input(f"unknown {kind}", value=name, allowed=allowed, hint=hint, **where)


def text_of(content: Mapping[str, Any], key: str, file: Path) -> str:
    """A required, non-empty text of a file."""
    return TEXT.check(content.get(key), file, key)


def read_variants(stem: str, file: Path) -> list[Variant]:
    """The variants of a file: one, or the members of its sweep."""
    if stem == "base":
        raise unknown("variant", stem, file.parent, ())
    content, problems = read_mapping(file), Problems()
    stated = read_section(VariantFile, content, file, problems)
    delta = _values(content.get("set") or {}, file, problems, "set.")
    axes = _axes(content.get("sweep"), delta, file, problems)
    if stated and len(set(stated.isolates)) < len(stated.isolates):
        problem = "must be a list of distinct dotted keys ([] for none)"
        problems.report(problem, file=file, key="isolates", value=list(stated.isolates))
    for key in stated.isolates if stated else ():
        with problems.collect():
            check_key(key, VARIANT_KEYS, file, f"isolates.{key}")
    problems.raise_any(str(file))
    assert stated is not None
    variants: dict[str, Variant] = {}
    for swept in points_of(axes, file, "sweep"):
        identity = member_id(stem, swept, file)
        if identity in variants:
            hint = f"both would be called {identity}"
            raise bad_input("two members are equal", file=file, key="sweep", value=swept, hint=hint)
        own = {"title": member_title(stated.title, swept), "set": delta | swept}
        variants[identity] = Variant(**{**dict(stated), **own}, id=identity, swept=swept, file=file)
    return list(variants.values())


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


def _axes(given: Any, delta: Mapping[str, Any], file: Path, problems: Problems) -> dict[str, list[Any]]:
    """The values of each key of a sweep."""
    if given is None:
        return {}
    if not isinstance(given, dict) or not given:
        problems.report("must be a mapping of keys to lists", file=file, key="sweep", value=given)
        return {}
    axes: dict[str, list[Any]] = {}
    with problems.collect():
        for key, values in flatten(given, file).items():
            shown = f"sweep.{key}"
            with problems.collect():
                known = variant_field(key, file, "sweep.")
                if not isinstance(values, list) or not values:
                    raise bad_input("must be a list of values", file=file, key=shown, value=values)
                if key in delta:
                    raise bad_input("is in set and in sweep", file=file, key=shown)
                axes[key] = [known.check(value, file, shown) for value in values]
    return axes


def points_of(axes: Mapping[str, Sequence[Any]], file: Path, key: str) -> list[dict[str, Any]]:
    """Every combination of the values of some keys.

    Raises:
        UserError: There are more than anybody runs; names ``file`` and ``key``.
    """
    if (count := math.prod(map(len, axes.values()))) > MOST:
        raise bad_input("too many combinations", file=file, key=key, value=count, allowed=f"at most {MOST}")
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def member_id(stem: str, point: Mapping[str, Any], file: Path) -> str:
    """The id of one member of a sweep or study with factors: the file stem, with ``--<key>-<value>`` per key.

    Raises:
        UserError: No folder can be called that; names ``file``.
    """
    name = "--".join([stem, *(f"{key.replace('.', '_')}-{slug(value)}" for key, value in point.items())])
    if len(name) > LONGEST:
        problem = f"the name of a member would be {len(name)} characters long, too long for a folder"
        raise bad_input(problem, file=file, value=name, allowed=f"at most {LONGEST}")
    return name


def member_title(title: str, point: Mapping[str, Any]) -> str:
    """The title of one member of a sweep or of a study with factors."""
    words = [f"{RANDOM_FACTORS.get(key) or key.rpartition('.')[2]} {show(value)}" for key, value in point.items()]
    return f"{title} ({', '.join(words)})" if words else title


def slug(value: Any) -> str:
    """A value as a part of a file name; of a long one the beginning, and a digest."""
    text = re.sub(r"[^a-z0-9.+-]+", "_", show(value).lower())
    return text if len(text) <= 48 else f"{text[:32]}-{sha256_text(show(value))[:8]}"


def show(value: Any) -> str:
    """A value as a person writes it."""
    return "null" if value is None else str(value)
