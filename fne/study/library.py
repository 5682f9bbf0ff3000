"""The library: ``ablations/base.yaml``, the variants, and what merging them gives."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fne.study.model import DATASETS, REGIMES, SHARED, data_keys
from fne.study.plugins import KEYS, check_selection, complete
from fne.study.validate import keys_read, why_unread
from fne.study.variants import Variant, read_variants
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import NONE, OPTION, Key, check_all, flatten
from fne.utils.names import named_files, unknown
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

ABSENT = object()
"""An option that a plug-in's variant has and its parent has not."""


class Library:
    """Base, variants, and what merging them gives; every file is read and checked when it is first asked for.

    Args:
        root: The project's folder; the library is ``root/ablations``.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Path(root) / "ablations"
        self._files: dict[str, dict[str, Variant]] = {}
        self._valid: set[str] = set()

    @cached_property
    def base(self) -> dict[str, Any]:
        """The defaults of every run key (data apart), flat; those of a rule's own options stand in its signature.

        Raises:
            UserError: ``base.yaml`` lacks a key, has one too many, or holds a value that is not allowed.
        """
        file, content = self._base_file
        problems = Problems()
        given = flatten({key: value for key, value in content.items() if key not in ("datasets", "regime")}, file)
        flat = check_all(given, KEYS, file, problems)
        _missing(SHARED, given, file, problems)
        for key in filter(OPTION.fullmatch, given):
            problems.report("belongs to a plug-in: set it in a variant", file=file, key=key)
        if (regime := content.get("regime")) not in REGIMES:
            problems.report("unknown", file=file, key="regime", value=regime, allowed=REGIMES)
        for name in DATASETS:
            with problems.collect():
                self.data_template(name)
        problems.raise_any(str(file))
        return {name: flat.get(name, key.default) for name, key in KEYS.items()}

    @cached_property
    def released(self) -> dict[str, Any]:
        """The values of the authors' release, ``released.yaml``, where they differ from ``base.yaml``; flat.

        Raises:
            UserError: It holds an unknown key, or a value that is not allowed.
        """
        file, problems = self.folder / "released.yaml", Problems()
        result = check_all(flatten(read_mapping(file), file), KEYS, file, problems) if file.is_file() else {}
        problems.raise_any(str(file))
        return result

    @cached_property
    def _base_file(self) -> tuple[Path, dict[str, Any]]:
        file = self.folder / "base.yaml"
        return file, read_mapping(file)

    def data_template(self, dataset: str) -> dict[str, Any]:
        """The defaults of the ``data`` section of one data set, flat, ``data.dataset`` included."""
        file, content = self._base_file
        templates, problems, keys = content.get("datasets"), Problems(), data_keys(dataset)
        if not isinstance(templates, dict) or {*templates} != {*DATASETS}:
            problem = "must hold one section per data set"
            raise bad_input(problem, file=file, key="datasets", value=str(templates), allowed=DATASETS)
        given = {"data.dataset": dataset} | flatten(templates[dataset] or {}, file, "data.")
        flat = check_all(given, keys, file, problems, f"datasets.{dataset}: ")
        _missing(keys, given, file, problems)
        problems.raise_any(str(file))
        return {name: flat.get(name, key.neutral) for name, key in keys.items()}

    def stems(self) -> list[str]:
        """File stems of all variants, in order of name; a file that no variant can be called by has none."""
        return list(self._named)

    @functools.cached_property
    def _named(self) -> dict[str, Path]:
        return named_files(self.folder / "variants")

    def unknown(self, name: str, **where: Any) -> UserError:
        """The error that no variant is called ``name``."""
        return unknown("variant", name, self.folder / "variants", self.stems(), **where)

    def members(self, stem: str, **where: Any) -> dict[str, Variant]:
        """The variants of one file by id: itself, or the members of its sweep; see :meth:`variant`."""
        if stem not in self._files:
            if stem not in self._named:
                raise self.unknown(stem, **where)
            self._files[stem] = {variant.id: variant for variant in read_variants(stem, self._named[stem])}
        return self._files[stem]

    def variant(self, variant_id: str, **where: Any) -> Variant:
        """One variant by id.

        Args:
            variant_id: File stem, of a member of a sweep with its values.
            where: The file and the key that name it, for the error.

        Raises:
            UserError: No such file, or no such member of its sweep.
        """
        members = self.members(variant_id.partition("--")[0], **where)
        if variant_id not in members:
            raise bad_input("unknown variant", value=variant_id, allowed=list(members), **where)
        return members[variant_id]

    def chain(self, variant_id: str) -> list[Variant]:
        """The variant's ancestors from the one below the base down to itself.

        Raises:
            UserError: Unknown parent or a cycle of parents.
        """
        chain = [self.variant(variant_id)]
        while (parent := chain[-1].parent) != "base":
            file, line = chain[-1].file, [variant.id for variant in chain]
            if parent in line:
                hint = " -> ".join([*line[line.index(parent) :], parent][:10])
                raise bad_input("a cycle of parents", file=file, key="parent", value=parent, hint=hint)
            stem = parent.partition("--")[0]
            known = self.members(stem) if stem in self._named else ["base", *self._named]
            if parent not in known:
                raise bad_input("unknown parent", file=file, key="parent", value=parent, allowed=known)
            chain.append(self.variant(parent))
        return chain[::-1]

    def merged(self, variant_id: str) -> dict[str, Any]:
        """Base and variant chain merged, flat, plug-ins completed, not pruned; ``"base"`` is the base itself."""
        flat = dict(self.base)
        file = self._base_file[0]
        if variant_id != "base":
            file = self.variant(variant_id).file
            for variant in self.chain(variant_id):
                flat |= variant.set
        return complete(flat, file, self.folder.parent)

    def check(self, variant_id: str) -> None:
        """Check what a variant's file claims against what merging gives.

        Raises:
            UserError: Lists every problem: a set value that changes nothing, an option that nothing reads, dishonest
                ``isolates``, equal members of a sweep, parts that do not fit together.
        """
        if variant_id in self._valid:
            return
        variant = self.variant(variant_id)
        before, after = self.merged(variant.parent), self.merged(variant_id)
        problems, read = Problems(), keys_read(after)
        for key, value in variant.set.items():
            shown = f"{'sweep' if key in variant.swept else 'set'}.{key}"
            if key not in read:
                problem, hint = "is not read by this variant", why_unread(key, after)
                problems.report(problem, file=variant.file, key=shown, value=value, hint=hint)
            if key not in variant.swept and before.get(key, ABSENT) == value:
                problem, hint = f"changes nothing: {variant.parent} has the same value", "leave it out"
                problems.report(problem, file=variant.file, key=shown, value=value, hint=hint)
        members = self.members(variant.id.partition("--")[0]).values()
        differ = {key for member in members for key, value in member.set.items() if before.get(key, ABSENT) != value}
        if differ != (listed := {*variant.isolates}):
            parts = {"differs but is not listed": differ - listed, "listed but does not differ": listed - differ}
            hint = "; ".join(f"{what}: {', '.join(sorted(keys))}" for what, keys in parts.items() if keys)
            at = {"file": variant.file, "key": "isolates", "value": sorted(listed), "allowed": str(sorted(differ))}
            problems.report(f"does not match the difference from {variant.parent}", hint=hint, **at)
        with problems.collect():
            check_selection(after, variant.file)
        problems.raise_any(str(variant.file))
        self._valid.add(variant_id)


def _missing(fields: Mapping[str, Key], given: Mapping[str, Any], file: Path, problems: Problems) -> None:
    for name, key in fields.items():
        if name not in given and key.neutral is NONE:
            problems.report("is missing", file=file, key=name, allowed=key.allowed())
