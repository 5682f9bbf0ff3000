"""Variant files: a delta from a parent each, or one per point of a sweep; read and checked alone."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.study.model import KEYS, VARIANT_SECTIONS
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import Key, check_key, flatten
from fne.utils.files import sha256_text
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

RANDOM_FACTORS = {"encoders.draw": "encoder draw", "data.seed": "world"}
"""Factors of a study whose values are a sample of many, and what each is called."""
STEM = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
LONGEST, MOST = 200, 1000
"""Characters of an id, which names a folder (file systems take 255), and members of a sweep or study with factors."""
ROLES = ("scientific", "nuisance", "control")
VARIANT_KEYS = ("title", "asks", "parent", "set", "isolates", "role", "sweep")
VARIANT_FIELDS = {key: field for key, field in KEYS.items() if key.partition(".")[0] in VARIANT_SECTIONS}


@dataclass(frozen=True)
class Variant:
    """One variant as its file states it (one member, where the file has a sweep).

    Args:
        id: File stem, with ``--<key>-<value>`` per swept key.
        title: Name for tables.
        asks: The question it answers.
        parent: Id of the variant it differs from, or ``"base"``.
        role: ``scientific``, ``nuisance`` or ``control``.
        set: Its delta, dotted keys.
        isolates: Leaf keys it claims to change (over all members of a sweep).
        swept: The part of ``set`` that comes from the sweep.
        file: Where it stands.
    """

    id: str
    title: str
    asks: str
    parent: str
    role: str
    set: Mapping[str, Any]
    isolates: tuple[str, ...]
    swept: Mapping[str, Any]
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
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise bad_input("must be non-empty text", file=file, key=key, value=value)
    return value.strip()


def only_keys(content: Mapping[str, Any], allowed: tuple[str, ...], file: Path, prefix: str = "") -> None:
    """Refuse unknown top-level keys of a file."""
    problems = Problems()
    for key in content:
        if key not in allowed:
            problems.report("unknown key", file=file, key=f"{prefix}{key}", value=key, allowed=allowed)
    problems.raise_any(str(file))


def read_variants(stem: str, file: Path) -> list[Variant]:
    if stem == "base":
        raise unknown("variant", stem, file.parent, ())
    content = read_mapping(file)
    problems = Problems()
    with problems.collect():
        only_keys(content, VARIANT_KEYS, file)
    texts = {}
    for key in ("title", "asks", "parent", "role"):
        with problems.collect():
            texts[key] = text_of(content, key, file)
    if texts.get("role", "scientific") not in ROLES:
        problems.report("unknown", file=file, key="role", value=texts["role"], allowed=ROLES)
    delta = _delta(content.get("set", {}), file, problems)
    axes = _axes(content.get("sweep"), delta, file, problems)
    isolates = _isolates(content.get("isolates"), file, problems)
    problems.raise_any(str(file))

    variants: dict[str, Variant] = {}
    for swept in points_of(axes, file, "sweep"):
        identity = member_id(stem, swept, file)
        if identity in variants:
            hint = f"both would be called {identity}"
            raise bad_input("two members are equal", file=file, key="sweep", value=swept, hint=hint)
        variants[identity] = Variant(
            id=identity,
            title=member_title(texts["title"], swept),
            asks=texts["asks"],
            parent=texts["parent"],
            role=texts["role"],
            set=delta | swept,
            isolates=isolates,
            swept=swept,
            file=file,
        )
    return list(variants.values())


def _delta(given: Any, file: Path, problems: Problems) -> dict[str, Any]:
    if not isinstance(given, dict):
        problems.report("must be a mapping ({} for none)", file=file, key="set", value=given)
        return {}
    flat: dict[str, Any] = {}
    with problems.collect():
        for key, value in flatten(given, file).items():
            with problems.collect():
                flat[key] = variant_field(key, file, "set.").check(value, file, f"set.{key}")
    return flat


def variant_field(key: str, file: Path | str, prefix: str = "") -> Key:
    """The field of a key that a variant or a tuned file may set.

    Raises:
        UserError: Unknown key, or one that belongs to the study.
    """
    section = key.partition(".")[0]
    if section in ("audit", "data", "encoders", "evaluation", "regime"):
        raise bad_input(
            "belongs to the study: all its variants share it",
            file=file,
            key=f"{prefix}{key}",
            allowed=VARIANT_SECTIONS,
        )
    return check_key(key, VARIANT_FIELDS, file, f"{prefix}{key}")


def _axes(given: Any, delta: Mapping[str, Any], file: Path, problems: Problems) -> dict[str, list[Any]]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not given:
        problems.report("must be a mapping of keys to lists", file=file, key="sweep", value=given)
        return {}
    axes: dict[str, list[Any]] = {}
    with problems.collect():
        for key, values in flatten(given, file).items():
            with problems.collect():
                field = variant_field(key, file, "sweep.")
                if not isinstance(values, list) or not values:
                    raise bad_input("must be a list of values", file=file, key=f"sweep.{key}", value=values)
                if key in delta:
                    raise bad_input("is in set and in sweep", file=file, key=f"sweep.{key}")
                axes[key] = [field.check(value, file, f"sweep.{key}") for value in values]
    return axes


def _isolates(given: Any, file: Path, problems: Problems) -> tuple[str, ...]:
    if not isinstance(given, list) or any(not isinstance(key, str) for key in given) or len(set(given)) < len(given):
        problems.report("must be a list of distinct dotted keys ([] for none)", file=file, key="isolates", value=given)
        return ()
    for key in given:
        with problems.collect():
            check_key(key, VARIANT_FIELDS, file, f"isolates.{key}")
    return tuple(given)


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
