"""The library of variants: ``ablations/base.yaml`` and one delta per file of ``ablations/variants``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fne.configuration.merge import canonical, check_together, keys_read, why_unread
from fne.configuration.problems import Problems
from fne.configuration.schema import (
    DATASETS,
    REGIMES,
    RUN_FIELDS,
    VARIANT_SECTIONS,
    check_key,
    check_value,
    data_fields,
    flatten,
)
from fne.configuration.yaml_file import read_mapping
from fne.errors import bad_input

STEM = re.compile(r"[a-z0-9][a-z0-9_]*")
ROLES = ("scientific", "nuisance", "control")
VARIANT_KEYS = ("title", "asks", "parent", "set", "isolates", "role", "sweep")
VARIANT_FIELDS = {key: field for key, field in RUN_FIELDS.items() if key.partition(".")[0] in VARIANT_SECTIONS}


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
            problems.add(bad_input("unknown key", file=file, key=f"{prefix}{key}", value=key, allowed=allowed))
    problems.raise_any(str(file))


class Library:
    """Base, variants, and what merging them gives; every file is read and checked when it is first asked for.

    Args:
        root: The project's folder; the library is ``root/ablations``.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Path(root) / "ablations"
        self._files: dict[str, dict[str, Variant]] = {}

    @cached_property
    def base(self) -> dict[str, Any]:
        """The defaults of every run key (data apart), flat.

        Raises:
            UserError: ``base.yaml`` lacks a key, has one too many, or holds a value that is not allowed.
        """
        file, content = self._base_file
        problems = Problems()
        given = flatten({key: value for key, value in content.items() if key not in ("datasets", "regime")}, file)
        flat = self._typed(given, RUN_FIELDS, file, problems)
        _missing(RUN_FIELDS, given, file, problems)
        if content.get("regime") not in REGIMES:
            problems.add(bad_input("unknown", file=file, key="regime", value=content.get("regime"), allowed=REGIMES))
        for name in DATASETS:
            with problems.collect():
                self.data_template(name)
        problems.raise_any(str(file))
        return {key: flat[key] for key in RUN_FIELDS}

    @cached_property
    def _base_file(self) -> tuple[Path, dict[str, Any]]:
        file = self.folder / "base.yaml"
        return file, read_mapping(file)

    @property
    def regime(self) -> str:
        """The regime of the base protocol."""
        return self._base_file[1]["regime"]

    def data_template(self, dataset: str) -> dict[str, Any]:
        """The defaults of the ``data`` section of one data set, flat, ``data.dataset`` included."""
        file, content = self._base_file
        templates = content.get("datasets")
        if not isinstance(templates, dict) or set(templates) != set(DATASETS):
            found = sorted(templates) if isinstance(templates, dict) else templates
            raise bad_input("must hold one section per data set", file=file, key="datasets", value=found, allowed=DATASETS)
        problems = Problems()
        given = {"data.dataset": dataset} | flatten(templates[dataset] or {}, file, "data.")
        fields = data_fields(dataset)
        flat = self._typed(given, fields, file, problems, shown=lambda key: key.replace("data.", f"datasets.{dataset}.", 1))
        _missing(fields, given, file, problems)
        problems.raise_any(str(file))
        return {key: flat[key] for key in fields}

    @staticmethod
    def _typed(
        given: Mapping[str, Any], fields: Mapping[str, Any], file: Path, problems: Problems, shown: Any = lambda key: key
    ) -> dict[str, Any]:
        flat = {}
        for key, value in given.items():
            with problems.collect():
                flat[key] = check_value(value, check_key(key, fields, file, shown(key)), file, shown(key))
        return flat

    def stems(self) -> list[str]:
        """File stems of all variants, in order of name."""
        return sorted(path.stem for path in (self.folder / "variants").glob("*.yaml"))

    def members(self, stem: str) -> dict[str, Variant]:
        """The variants of one file by id: itself, or the members of its sweep."""
        if stem not in self._files:
            file = self.folder / "variants" / f"{stem}.yaml"
            if stem not in self.stems():
                raise bad_input("unknown variant", value=stem, allowed=self.stems(), hint=f"each is a file of {file.parent}")
            self._files[stem] = {variant.id: variant for variant in _read_variant(stem, file)}
        return self._files[stem]

    def variant(self, variant_id: str) -> Variant:
        """One variant by id.

        Raises:
            UserError: No such file, or no such member of its sweep.
        """
        members = self.members(variant_id.partition("--")[0])
        if variant_id not in members:
            raise bad_input("unknown variant", value=variant_id, allowed=list(members))
        return members[variant_id]

    def chain(self, variant_id: str) -> list[Variant]:
        """The variant's ancestors from the one below the base down to itself.

        Raises:
            UserError: Unknown parent or a cycle of parents.
        """
        chain = [self.variant(variant_id)]
        while chain[-1].parent != "base":
            child = chain[-1]
            line = [variant.id for variant in chain]
            if child.parent in line:
                cycle = " -> ".join([*line[line.index(child.parent) :], child.parent])
                raise bad_input("a cycle of parents", file=child.file, key="parent", value=child.parent, hint=cycle)
            parents = ["base", *self.stems()]
            if child.parent.partition("--")[0] not in parents:
                raise bad_input("unknown parent", file=child.file, key="parent", value=child.parent, allowed=parents)
            chain.append(self.variant(child.parent))
        return chain[::-1]

    def merged(self, variant_id: str) -> dict[str, Any]:
        """Base and variant chain merged, flat and not pruned; ``"base"`` is the base itself."""
        flat = dict(self.base)
        if variant_id != "base":
            for variant in self.chain(variant_id):
                flat |= variant.set
        return flat

    def check(self, variant_id: str) -> None:
        """Check what a variant's file claims against what merging gives.

        Raises:
            UserError: Lists every problem: a set value that changes nothing, an option that nothing reads, dishonest
                ``isolates``, equal members of a sweep, parts that do not fit together.
        """
        variant = self.variant(variant_id)
        before, after = self.merged(variant.parent), self.merged(variant_id)
        problems = Problems()
        read = keys_read(after)
        for key, value in variant.set.items():
            if key not in read:
                problems.add(bad_input("is not read by this variant", file=variant.file, key=f"set.{key}", value=value,
                                       hint=why_unread(key, after)))
            if key not in variant.swept and before[key] == value:
                problems.add(bad_input(f"changes nothing: {variant.parent} has the same value", file=variant.file,
                                       key=f"set.{key}", value=value, hint="leave it out"))
        self._check_isolates(variant, before, problems)
        with problems.collect():
            check_together(self.data_template("scenes") | after, variant.file)
        problems.raise_any(str(variant.file))

    def _check_isolates(self, variant: Variant, before: Mapping[str, Any], problems: Problems) -> None:
        members = self.members(variant.id.partition("--")[0]).values()
        differ = {key for member in members for key, value in member.set.items() if before[key] != value}
        stated = set(variant.isolates)
        if stated != differ:
            parts = []
            if differ - stated:
                parts.append(f"differs but is not listed: {', '.join(sorted(differ - stated))}")
            if stated - differ:
                parts.append(f"listed but does not differ: {', '.join(sorted(stated - differ))}")
            problems.add(bad_input(f"does not match the difference from {variant.parent}", file=variant.file,
                                   key="isolates", value=sorted(stated), allowed=str(sorted(differ)),
                                   hint="; ".join(parts)))


def _missing(fields: Mapping[str, Any], given: Mapping[str, Any], file: Path, problems: Problems) -> None:
    for key in fields:
        if key not in given:
            problems.add(bad_input("is missing", file=file, key=key, allowed=fields[key].allowed()))


def _read_variant(stem: str, file: Path) -> list[Variant]:
    if not STEM.fullmatch(stem) or stem == "base":
        raise bad_input("not a variant's name", file=file, value=stem, allowed="lower-case letters, digits and _; not 'base'")
    content = read_mapping(file)
    problems = Problems()
    with problems.collect():
        only_keys(content, VARIANT_KEYS, file)
    texts = {}
    for key in ("title", "asks", "parent", "role"):
        with problems.collect():
            texts[key] = text_of(content, key, file)
    if texts.get("role", "scientific") not in ROLES:
        problems.add(bad_input("unknown", file=file, key="role", value=texts["role"], allowed=ROLES))
    delta = _delta(content.get("set", {}), file, problems)
    axes = _axes(content.get("sweep"), delta, file, problems)
    isolates = _isolates(content.get("isolates"), file, problems)
    problems.raise_any(str(file))

    variants: dict[str, Variant] = {}
    values: dict[str, str] = {}
    for point in itertools.product(*axes.values()):
        swept = dict(zip(axes, point, strict=True))
        identity = "--".join([stem, *(f"{key.replace('.', '_')}-{slug(value)}" for key, value in swept.items())])
        same = canonical(swept)
        if identity in variants or same in values:
            other = values.get(same, identity)
            raise bad_input("two members of the sweep are equal", file=file, key="sweep", value=swept, hint=f"the other is {other}")
        values[same] = identity
        title = texts["title"]
        if swept:
            title += f" ({', '.join(f'{key.rpartition(chr(46))[2]} {show(value)}' for key, value in swept.items())})"
        variants[identity] = Variant(id=identity, title=title, asks=texts["asks"], parent=texts["parent"],
                                     role=texts["role"], set=delta | swept, isolates=isolates, swept=swept, file=file)
    return list(variants.values())


def _delta(given: Any, file: Path, problems: Problems) -> dict[str, Any]:
    if not isinstance(given, dict):
        problems.add(bad_input("must be a mapping ({} for none)", file=file, key="set", value=given))
        return {}
    flat: dict[str, Any] = {}
    with problems.collect():
        for key, value in flatten(given, file).items():
            with problems.collect():
                flat[key] = check_value(value, variant_field(key, file, "set."), file, f"set.{key}")
    return flat


def variant_field(key: str, file: Path | str, prefix: str = "") -> Any:
    """The field of a key that a variant or a tuned file may set.

    Raises:
        UserError: Unknown key, or one that belongs to the study.
    """
    section = key.partition(".")[0]
    if section in ("data", "encoders", "evaluation", "regime"):
        raise bad_input("belongs to the study: all its variants share it", file=file, key=f"{prefix}{key}",
                        allowed=VARIANT_SECTIONS)
    return check_key(key, VARIANT_FIELDS, file, f"{prefix}{key}")


def _axes(given: Any, delta: Mapping[str, Any], file: Path, problems: Problems) -> dict[str, list[Any]]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not given:
        problems.add(bad_input("must be a mapping of keys to lists", file=file, key="sweep", value=given))
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
                axes[key] = [check_value(value, field, file, f"sweep.{key}") for value in values]
    return axes


def _isolates(given: Any, file: Path, problems: Problems) -> tuple[str, ...]:
    if not isinstance(given, list) or any(not isinstance(key, str) for key in given) or len(set(given)) < len(given):
        problems.add(bad_input("must be a list of distinct dotted keys ([] for none)", file=file, key="isolates", value=given))
        return ()
    for key in given:
        with problems.collect():
            check_key(key, VARIANT_FIELDS, file, f"isolates.{key}")
    return tuple(given)


def slug(value: Any) -> str:
    """A value as a part of a file name."""
    return re.sub(r"[^a-z0-9.+-]+", "_", show(value).lower())


def show(value: Any) -> str:
    """A value as a person writes it."""
    return "null" if value is None else str(value)
