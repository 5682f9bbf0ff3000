"""Studies: which data, encoders, variants and seeds are compared, and the resolved config of each variant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.configuration.merge import canonical, check_given, check_together, keys_read, prune, why_unread
from fne.configuration.problems import Problems
from fne.configuration.schema import (
    DATASETS,
    REGIMES,
    RUN_FIELDS,
    check_key,
    check_value,
    data_fields,
    fields_for,
    flatten,
    unflatten,
)
from fne.configuration.seeds import read_block_size, read_seeds
from fne.configuration.tuned import Tuned, read_tuned
from fne.configuration.variants import STEM, Library, Variant, only_keys, text_of
from fne.configuration.yaml_file import read_mapping
from fne.errors import bad_input

STUDY_KEYS = ("title", "question", "regime", "data", "encoders", "set", "tuned", "variants", "seeds", "block", "baseline",
              "primary")
OPTIONAL_KEYS = ("data", "encoders", "set", "tuned")
STUDY_LEVEL = ("variants", "seeds", "block", "baseline")
"""Study keys (beside config keys) that the command line may override."""
PRIMARY_METRICS = {
    "own": ("rsum", "r1", "r5", "r10"),
    "truth": ("map_at_r", "r_precision", "p1"),
}


@dataclass(frozen=True)
class Study:
    """One study, loaded and checked.

    Args:
        name: File stem.
        title: Its title.
        question: What it asks.
        regime: ``head``.
        variants: Ids in the order of the tables, sweeps expanded.
        seeds: Increasing integers >= 0.
        block: Seeds per training job.
        baseline: The variant that all others are compared with.
        primary: ``{"metric", "protocol", "direction"}``; ``direction`` is ``"both"`` for rsum.
        data: The resolved ``data`` section.
        overrides: What the command line set, dotted.
        configs: The merged config of every variant, flat and pruned.
        library: The variant files behind it, by id, ancestors included.
        tuned: Name of the tuned file, or None.
    """

    name: str
    title: str
    question: str
    regime: str
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    block: int
    baseline: str
    primary: Mapping[str, str]
    data: Mapping[str, Any] = field(repr=False)
    overrides: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]] = field(repr=False)
    library: Mapping[str, Variant] = field(repr=False)
    tuned: str | None


def list_studies(root: Path = Path(".")) -> list[str]:
    """Names of all studies, in order."""
    return sorted(path.stem for path in (Path(root) / "ablations" / "studies").glob("*.yaml"))


def load_study(
    name: str, overrides: Mapping[str, Any] | None = None, root: Path = Path("."), *, complete: bool = True
) -> Study:
    """Load a study and check every merged variant of it before any work.

    Merge order: base, the study's data, encoders and set, the variant chain (parent first), tuned values, overrides.

    Args:
        name: File stem in ``ablations/studies``.
        overrides: Dotted config keys, or ``variants``, ``seeds``, ``block``, ``baseline``.
        root: The project's folder.
        complete: Also demand what only the user can know: paths of a corpus and encoder checkpoints.

    Raises:
        UserError: Lists everything that is wrong.
    """
    file = Path(root) / "ablations" / "studies" / f"{name}.yaml"
    if name not in list_studies(root):
        raise bad_input("unknown study", value=name, allowed=list_studies(root), hint=f"each is a file of {file.parent}")
    if not STEM.fullmatch(name):
        raise bad_input("not a study's name", file=file, value=name, allowed="lower-case letters, digits and _")
    return _Loader(file, Library(root), dict(overrides or {})).load(complete)


class _Loader:
    """One loading of one study; problems of independent parts are collected, dependent parts wait for them."""

    def __init__(self, file: Path, library: Library, overrides: dict[str, Any]) -> None:
        self.file, self.library, self.overrides = file, library, overrides
        self.problems = Problems()
        self.content: dict[str, Any] = {}

    def load(self, complete: bool) -> Study:
        self.content = read_mapping(self.file)
        self.library.base  # noqa: B018 - without a sound base nothing else can be judged
        collect, stop = self.problems.collect, self._stop
        with collect():
            only_keys(self.content, STUDY_KEYS, self.file)
        for key in STUDY_KEYS:
            if key not in self.content and key not in OPTIONAL_KEYS:
                self.problems.add(bad_input("is missing", file=self.file, key=key))
        stop()
        texts = {}
        for key in ("title", "question", "regime"):
            with collect():
                texts[key] = text_of(self.content, key, self.file)
        if "regime" in texts and texts["regime"] not in REGIMES:
            self.problems.add(bad_input("unknown", file=self.file, key="regime", value=texts["regime"], allowed=REGIMES))
        level = {key: self.overrides.pop(key, self.content[key]) for key in STUDY_LEVEL}
        seeds, block = (), 1
        with collect():
            seeds = read_seeds(level["seeds"], self.file)
        with collect():
            block = read_block_size(level["block"], self.file)
        primary = self._primary()
        ids = self._variants(level["variants"])
        overrides = self._overrides(ids)
        shared = self._shared(overrides)
        tuned = self._tuned()
        if level["baseline"] not in ids:
            self.problems.add(bad_input("is not among the study's variants", file=self.file, key="baseline",
                                        value=level["baseline"], allowed=ids))
        stop()
        self._readable(ids, tuned, overrides)
        stop()

        merged = {variant: self._merge(variant, shared, tuned, overrides) for variant in ids}
        for variant, flat in merged.items():
            with collect():
                check_together(flat, f"{self.file} (variant {variant})")
        if complete and ids:
            with collect():
                check_given(merged[ids[0]], self.file)
        stop()
        configs = {variant: prune(flat) for variant, flat in merged.items()}
        self._distinct(configs)
        stop()
        given = {key: self._level_text(key, level[key]) for key in STUDY_LEVEL if level[key] != self.content[key]}
        return Study(
            name=self.file.stem, title=texts["title"], question=texts["question"], regime=texts["regime"],
            variants=tuple(ids), seeds=seeds, block=block, baseline=level["baseline"], primary=primary,
            data=unflatten({key: value for key, value in merged[ids[0]].items() if key.startswith("data.")})["data"],
            overrides=overrides | given, configs=configs,
            library={variant.id: variant for name in ids for variant in self.library.chain(name)},
            tuned=tuned.name if tuned else None,
        )

    def _stop(self) -> None:
        self.problems.raise_any(f"study {self.file.stem!r}")

    @staticmethod
    def _level_text(key: str, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

    def _primary(self) -> dict[str, str]:
        given, file = self.content["primary"], self.file
        if not isinstance(given, dict):
            self.problems.add(bad_input("must be a mapping", file=file, key="primary", value=given,
                                        allowed="{metric: rsum, protocol: own}"))
            return {}
        with self.problems.collect():
            only_keys(given, ("metric", "protocol", "direction"), file, "primary.")
            protocol, metric = given.get("protocol"), given.get("metric")
            if protocol not in list(PRIMARY_METRICS):
                raise bad_input("unknown", file=file, key="primary.protocol", value=protocol, allowed=PRIMARY_METRICS)
            if metric not in PRIMARY_METRICS[protocol]:
                raise bad_input("unknown in this protocol", file=file, key="primary.metric", value=metric,
                                allowed=PRIMARY_METRICS[protocol])
            directions = ("both",) if metric == "rsum" else ("i2t", "t2i")
            direction = given.get("direction", "both" if metric == "rsum" else None)
            if direction not in directions:
                raise bad_input("unknown for this metric", file=file, key="primary.direction", value=direction,
                                allowed=directions)
            return {"metric": metric, "protocol": protocol, "direction": direction}
        return {}

    def _variants(self, given: Any) -> list[str]:
        names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
        if not isinstance(names, list | tuple) or not names or any(not isinstance(name, str) for name in names):
            self.problems.add(bad_input("must be a list of variants", file=self.file, key="variants", value=given))
            return []
        ids: list[str] = []
        for name in names:
            with self.problems.collect():
                members = [name] if "--" in name else list(self.library.members(name))
                for member in members:
                    for ancestor in self.library.chain(member):
                        with self.problems.collect():
                            self.library.check(ancestor.id)
                    if member in ids:
                        raise bad_input("is listed twice", file=self.file, key="variants", value=member)
                    ids.append(member)
        return ids

    def _overrides(self, ids: list[str]) -> dict[str, Any]:
        """The command line's config values, typed; a whole section given as a mapping counts as its leaves."""
        typed: dict[str, Any] = {}
        with self.problems.collect():
            flat = flatten(self.overrides, "command line")
            dataset = flat.get("data.dataset", self._section("data").get("dataset", "scenes"))
            fields = fields_for(dataset) if dataset in list(DATASETS) else RUN_FIELDS
            for key, value in flat.items():
                with self.problems.collect():
                    if "." not in key:
                        near = difflib.get_close_matches(key, [*STUDY_LEVEL, *fields], n=1, cutoff=0.4)
                        raise bad_input("unknown key", file="command line", key=key,
                                        allowed=f"{', '.join(STUDY_LEVEL)}, or a dotted config key",
                                        hint=f"did you mean {near[0]!r}?" if near else None)
                    typed[key] = check_value(value, check_key(key, fields, "command line"), "command line", key)
        return typed

    def _section(self, key: str) -> dict[str, Any]:
        section = self.content.get(key)
        if section is None:
            return {}
        if not isinstance(section, dict):
            raise bad_input("must be a mapping", file=self.file, key=key, value=section)
        return section

    def _shared(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Base with the study's data, encoders and set: what every variant starts from."""
        shared = dict(self.library.base)
        with self.problems.collect():
            data = flatten(self._section("data"), self.file, "data.")
            dataset = overrides.get("data.dataset", data.get("data.dataset", "scenes"))
            if dataset not in list(DATASETS):
                raise bad_input("unknown", file=self.file, key="data.dataset", value=dataset, allowed=DATASETS)
            shared = self.library.data_template(dataset) | shared
            self._lay(data, data_fields(dataset), shared)
        with self.problems.collect():
            self._lay(flatten(self._section("encoders"), self.file, "encoders."), RUN_FIELDS, shared)
        with self.problems.collect():
            allowed = {key: field for key, field in RUN_FIELDS.items() if not key.startswith("encoders.")}
            self._lay(flatten(self._section("set"), self.file), allowed, shared, "set.")
        return shared

    def _lay(self, given: Mapping[str, Any], fields: Mapping[str, Any], onto: dict[str, Any], prefix: str = "") -> None:
        for key, value in given.items():
            with self.problems.collect():
                field = check_key(key, fields, self.file, f"{prefix}{key}")
                onto[key] = check_value(value, field, self.file, f"{prefix}{key}")

    def _tuned(self) -> Tuned | None:
        name = self.content.get("tuned")
        if name is None:
            return None
        with self.problems.collect():
            return read_tuned(name, self.library, self.file)
        return None

    def _merge(
        self, variant: str, shared: Mapping[str, Any], tuned: Tuned | None, overrides: Mapping[str, Any]
    ) -> dict[str, Any]:
        flat = dict(shared)
        for ancestor in self.library.chain(variant):
            flat |= ancestor.set
        flat |= tuned.values.get(variant, {}) if tuned else {}
        return flat | overrides

    def _readable(self, ids: list[str], tuned: Tuned | None, overrides: Mapping[str, Any]) -> None:
        """Refuse values that nothing reads: a tuned value by its variant, a study's or the user's by any variant."""
        base = self._shared(overrides)
        read: set[str] = set()
        merged: dict[str, Any] = {}
        for variant in ids:
            merged = self._merge(variant, base, tuned, overrides)
            mine = keys_read(merged)
            read |= mine
            for key, value in (tuned.values.get(variant, {}) if tuned else {}).items():
                if key not in mine:
                    self.problems.add(bad_input(f"is not read by variant {variant}", file=tuned.file,
                                                key=f"values.{variant}.{key}", value=value, hint=why_unread(key, merged)))
        sources = [("command line", "", overrides), (self.file, "set.", flatten(self._section("set"), self.file))]
        for where, prefix, given in sources:
            for key, value in given.items():
                if key not in read and ids:
                    self.problems.add(bad_input("is read by no variant of this study", file=where, key=f"{prefix}{key}",
                                                value=value, hint=why_unread(key, merged)))

    def _distinct(self, configs: Mapping[str, Mapping[str, Any]]) -> None:
        seen: dict[str, str] = {}
        for variant, config in configs.items():
            text = canonical(config)
            if text in seen:
                self.problems.add(bad_input(f"variants {seen[text]} and {variant} have equal resolved configs",
                                            file=self.file, key="variants", hint="a comparison of a thing with itself"))
            seen.setdefault(text, variant)


def resolve(study: Study, variant: str) -> dict[str, Any]:
    """The whole config of one variant: nested sections and ``regime``; options that nothing reads are left out.

    Raises:
        UserError: The variant is not in the study.
    """
    if variant not in study.configs:
        raise bad_input("is not a variant of this study", file=study.name, value=variant, allowed=study.variants)
    return {"regime": study.regime} | unflatten(study.configs[variant])

