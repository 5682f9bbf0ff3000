"""Loading a study: merge base, study, variants, tuned values and overrides; check all of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fne.configuration.against import Against, read_against
from fne.configuration.library import Library
from fne.configuration.merge import (
    canonical,
    check_given,
    check_protocol,
    check_together,
    keys_read,
    prune,
    why_unread,
)
from fne.configuration.plugins import complete
from fne.configuration.problems import Problems
from fne.configuration.published import read_published
from fne.configuration.schema import (
    DATASETS,
    OPTION,
    REGIMES,
    RUN_FIELDS,
    Field,
    check_key,
    check_value,
    data_fields,
    fields_for,
    flatten,
    unflatten,
)
from fne.configuration.seeds import read_block_size, read_seeds
from fne.configuration.series import Axis, Series, read_axis
from fne.configuration.study import Study
from fne.configuration.tuned import Tuned, read_tuned
from fne.configuration.tuning import Tuning, check_seeds, read_tuning
from fne.configuration.variants import STEM, member_title, only_keys, text_of
from fne.configuration.yaml_file import read_mapping
from fne.errors import UserError, bad_input
from fne.retrieval.protocols import METRICS as PROTOCOL_METRICS
from fne.stats.needs import reachable, seed_note, seeds_needed

REQUIRED_KEYS = ("title", "question", "regime", "variants", "seeds", "block", "baseline", "primary")
STUDY_KEYS = (*REQUIRED_KEYS, "data", "encoders", "as_released", "set", "tune", "tuned", "test", "published", "series")
STUDY_LEVEL = ("variants", "seeds", "block", "baseline")
"""Study keys (beside config keys) that the command line may override."""
TESTS = ("images", "seeds")
"""What the p values of a study's family are about: other test images, or training again."""
COMMAND_LINE = "command line"


def list_studies(root: Path = Path(".")) -> list[str]:
    """Ids of all studies, series expanded, in order of file name."""
    names: list[str] = []
    for stem, file in _files(root).items():
        try:
            axis = read_axis(read_mapping(file), file)
        except UserError:  # loading it by its stem says what is wrong
            axis = None
        names += list(axis.members) if axis else [stem]
    return names


def _files(root: Path) -> dict[str, Path]:
    """Study files by stem, in order."""
    return {path.stem: path for path in sorted((Path(root) / "ablations" / "studies").glob("*.yaml"))}


def load_study(
    name: str,
    overrides: Mapping[str, Any] | None = None,
    root: Path = Path("."),
    *,
    complete: bool = True,
    tuned: bool = True,
) -> Study:
    """Load a study and check every merged variant of it before any work.

    Merge order: base, the release's values (where ``as_released``), the study's data, encoders and set, the variant
    chain (parent first), tuned values, overrides.

    Args:
        name: File stem in ``ablations/studies``; of a member of a series, ``<stem>--<key>-<value>``.
        overrides: Dotted config keys, or ``variants``, ``seeds``, ``block``, ``baseline``.
        root: The project's folder.
        complete: Also demand what only the user can know: paths of a corpus and encoder checkpoints.
        tuned: Lay the values that tuning chose; without, the study is as it is before it was tuned.

    Raises:
        UserError: Lists everything that is wrong.
    """
    found = load(name, overrides, root, complete=complete, tuned=tuned)
    if isinstance(found, Series):
        members = [member.name for member in found.members]
        hint = "a series is run as a whole by snakemake, and told as a whole by compare, tables, figures, report"
        raise bad_input("is a series: name one of its studies", value=name, allowed=members, hint=hint)
    return found


def load(
    name: str,
    overrides: Mapping[str, Any] | None = None,
    root: Path = Path("."),
    *,
    complete: bool = True,
    tuned: bool = True,
) -> Study | Series:
    """Load a study, or all members of a series by its file stem; as :func:`load_study` otherwise.

    Raises:
        UserError: Lists everything that is wrong.
    """
    files, stem = _files(root), name.partition("--")[0]
    if stem not in files or (name != stem and name not in list_studies(root)):
        known, hint = sorted({*files, *list_studies(root)}), f"each is a file of {Path(root) / 'ablations' / 'studies'}"
        raise bad_input("unknown study", value=name, allowed=known, hint=hint)
    if not STEM.fullmatch(stem):
        raise bad_input(
            "not a study's name", file=files[stem], value=stem, allowed="lower-case letters, digits and _"
        )
    file, library = files[stem], Library(root)
    axis = read_axis(read_mapping(file), file)
    if axis is None or name in axis.members:
        return _Loader(name, file, library, overrides or {}, axis, tuned).load(complete)
    problems, members = Problems(), []
    for member in axis.members:
        with problems.collect():
            members.append(_Loader(member, file, library, overrides or {}, axis, tuned).load(complete))
    problems.raise_any(f"series {name!r}")
    content = read_mapping(file)
    texts = [text_of(content, key, file) for key in ("title", "question")]
    return Series(name, *texts, axis.key, tuple(axis.members.values()), tuple(members))


class _Loader:
    """One loading of one study. Problems of independent parts are collected; what builds on them waits."""

    def __init__(
        self,
        name: str,
        file: Path,
        library: Library,
        overrides: Mapping[str, Any],
        axis: Axis | None,
        tuned: bool,
    ) -> None:
        self.name, self.file, self.library, self.lay_tuned = name, file, library, tuned
        self.point = {axis.key: axis.members[name]} if axis else {}
        self.problems, self.notes = Problems(), []
        self.content = read_mapping(file)
        self.level = {key: overrides.get(key, self.content.get(key)) for key in STUDY_LEVEL}
        self.overrides = {key: value for key, value in overrides.items() if key not in STUDY_LEVEL}

    def load(self, complete: bool) -> Study:
        self.library.base  # noqa: B018 - without a sound base nothing else can be judged
        with self.problems.collect():
            only_keys(self.content, STUDY_KEYS, self.file)
        for key in REQUIRED_KEYS:
            if key not in self.content:
                self.problems.report("is missing", file=self.file, key=key)
        self._stop()

        texts = self._texts()
        seeds, block = self._seeds()
        primary = self._primary()
        ids = self._variants(self.level["variants"])
        baseline = self.level["baseline"]
        if ids and baseline not in ids:
            problem = "is not among the study's variants"
            self.problems.report(problem, file=self.file, key="baseline", value=baseline, allowed=ids)
        test = self._test(len(seeds), len(ids) - 1)
        overrides = self._typed_overrides()
        shared = self._shared(overrides)
        tune = self._tune(seeds)
        tuned = self._tuned(tune, ids, seeds)
        published = self._published(ids)
        self._stop()

        merged = {}
        for variant in ids:
            with self.problems.collect():
                merged[variant] = self._merge(variant, shared, tuned, overrides)
        self._stop()
        self._check_merged(merged, tune, tuned, overrides, complete)
        configs = {variant: prune(flat, texts["regime"]) for variant, flat in merged.items()}
        self._distinct(configs)
        self._stop()
        data = {key: value for key, value in configs[ids[0]].items() if key.startswith("data.")}
        return Study(
            name=self.name,
            **texts,
            variants=tuple(ids),
            seeds=seeds,
            block=block,
            baseline=baseline,
            primary=primary,
            data=unflatten(data)["data"],
            overrides=overrides | self._given_levels(),
            configs=configs,
            library={variant.id: variant for name in ids for variant in self.library.chain(name)},
            tuned=tuned.name if tuned else None,
            published=published,
            test=test,
            tune=tune,
            notes=tuple(self.notes),
        )

    def _stop(self) -> None:
        self.problems.raise_any(f"study {self.name!r}")

    def _given_levels(self) -> dict[str, Any]:
        """Study-level values that the command line changed, lists as text."""
        changed = {key: value for key, value in self.level.items() if value != self.content[key]}
        return {
            key: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            for key, value in changed.items()
        }

    def _texts(self) -> dict[str, str]:
        texts = {}
        for key in ("title", "question", "regime"):
            with self.problems.collect():
                texts[key] = text_of(self.content, key, self.file)
        texts["title"] = member_title(texts.get("title", ""), self.point)
        regime = texts.get("regime")
        if regime and regime not in REGIMES:
            self.problems.report("unknown", file=self.file, key="regime", value=regime, allowed=REGIMES)
        return texts

    def _seeds(self) -> tuple[tuple[int, ...], int]:
        seeds, block = (), 1
        with self.problems.collect():
            seeds = read_seeds(self.level["seeds"], self._source("seeds"))
        with self.problems.collect():
            block = read_block_size(self.level["block"], self._source("block"))
        return seeds, block

    def _source(self, key: str) -> str | Path:
        """Where the value of a study-level key stands."""
        return self.file if self.level[key] == self.content.get(key) else COMMAND_LINE

    def _primary(self) -> dict[str, str]:
        file, given = self.file, self.content["primary"]
        if not isinstance(given, dict):
            allowed = "a mapping such as {metric: rsum, protocol: own}"
            self.problems.report("must be a mapping", file=file, key="primary", value=given, allowed=allowed)
            return {}

        def one_of(key: str, value: Any, allowed: Iterable[str]) -> str:
            if value not in list(allowed):
                raise bad_input("unknown", file=file, key=f"primary.{key}", value=value, allowed=allowed)
            return value

        with self.problems.collect():
            only_keys(given, ("metric", "protocol", "direction"), file, "primary.")
            protocol = one_of("protocol", given.get("protocol"), PROTOCOL_METRICS)
            metric = one_of("metric", given.get("metric"), PROTOCOL_METRICS[protocol])
            whole = metric == "rsum"
            direction = given.get("direction", "both" if whole else None)
            one_of("direction", direction, ["both"] if whole else ["i2t", "t2i"])
            return {"metric": metric, "protocol": protocol, "direction": direction}
        return {}

    def _variants(self, given: Any) -> list[str]:
        """Ids in their order, sweeps expanded; each of them, and each ancestor, checked."""
        where = self._source("variants")
        names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
        if (
            not isinstance(names, list | tuple)
            or not names
            or any(not isinstance(name, str) for name in names)
        ):
            self.problems.report("must be a list of variants", file=where, key="variants", value=given)
            return []
        ids: list[str] = []
        for name in names:
            if name.partition("--")[0] not in self.library.stems():
                known = self.library.stems()
                self.problems.report("unknown variant", file=where, key="variants", value=name, allowed=known)
                continue
            with self.problems.collect():
                for member in [name] if "--" in name else list(self.library.members(name)):
                    if member in ids:
                        raise bad_input("is listed twice", file=where, key="variants", value=member)
                    ids.append(member)
                    for ancestor in self.library.chain(member):
                        with self.problems.collect():
                            self.library.check(ancestor.id)
        return ids

    def _section(self, key: str) -> dict[str, Any]:
        section = self.content.get(key)
        if section is not None and not isinstance(section, dict):
            raise bad_input("must be a mapping", file=self.file, key=key, value=section)
        return section or {}

    def _typed_overrides(self) -> dict[str, Any]:
        """The command line's config values; a whole section given as a mapping counts as its leaves."""
        typed: dict[str, Any] = {}
        with self.problems.collect():
            flat = flatten(self.overrides, COMMAND_LINE)
            dataset = flat.get("data.dataset", self._section("data").get("dataset", "scenes"))
            fields = fields_for(dataset) if dataset in list(DATASETS) else RUN_FIELDS
            for key, value in flat.items():
                with self.problems.collect():
                    if key in self.point:
                        raise bad_input("is what the series varies", file=COMMAND_LINE, key=key, value=value)
                    if "." not in key and not any(name.startswith(f"{key}.") for name in fields):
                        near = difflib.get_close_matches(key, [*STUDY_LEVEL, *fields], n=1, cutoff=0.4)
                        hint = f"did you mean {near[0]!r}?" if near else None
                        allowed = f"{', '.join(STUDY_LEVEL)}, or a dotted config key"
                        raise bad_input("unknown key", file=COMMAND_LINE, key=key, allowed=allowed, hint=hint)
                    typed[key] = check_value(value, check_key(key, fields, COMMAND_LINE), COMMAND_LINE, key)
        return typed

    def _shared(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Base with the study's data, encoders and set: what every variant starts from."""
        shared = dict(self.library.base)
        with self.problems.collect():
            data = flatten(self._section("data"), self.file, "data.") | self.point
            dataset = overrides.get("data.dataset", data.get("data.dataset", "scenes"))
            if dataset not in list(DATASETS):
                raise bad_input(
                    "unknown", file=self.file, key="data.dataset", value=dataset, allowed=DATASETS
                )
            shared = self.library.data_template(dataset) | shared
            self._lay(data, data_fields(dataset), shared)
        with self.problems.collect():
            self._lay_released(shared)
        with self.problems.collect():
            self._lay(flatten(self._section("encoders"), self.file, "encoders."), RUN_FIELDS, shared)
        with self.problems.collect():
            allowed = {key: field for key, field in RUN_FIELDS.items() if not key.startswith("encoders.")}
            self._lay(flatten(self._section("set"), self.file), allowed, shared, "set.")
        return shared

    def _lay_released(self, onto: dict[str, Any]) -> None:
        """With ``as_released: true``: every value of ``ablations/released.yaml``, quirks included."""
        wanted = self.content.get("as_released", False)
        if not isinstance(wanted, bool):
            raise bad_input("must be true or false", file=self.file, key="as_released", value=wanted)
        if not wanted:
            return
        if self.content["regime"] != "finetune":
            raise bad_input("belongs to the regime finetune", file=self.file, key="as_released", value=wanted)
        file = self.library.folder / "released.yaml"
        for key, value in flatten(read_mapping(file), file).items():
            onto[key] = check_value(value, check_key(key, RUN_FIELDS, file), file, key)

    def _lay(
        self, given: Mapping[str, Any], fields: Mapping[str, Field], onto: dict[str, Any], prefix: str = ""
    ) -> None:
        for key, value in given.items():
            shown = f"{prefix}{key}"
            with self.problems.collect():
                onto[key] = check_value(value, check_key(key, fields, self.file, shown), self.file, shown)

    def _test(self, n_seeds: int, comparisons: int) -> str:
        """The test that the study's claims rest on. Too few seeds for it are refused, or else a note."""
        test = self.content.get("test", TESTS[0])
        if test not in TESTS:
            self.problems.report("unknown", file=self.file, key="test", value=test, allowed=TESTS)
        elif test == "seeds" and n_seeds and comparisons > 0 and not reachable(n_seeds, comparisons):
            at = {"file": self._source("seeds"), "key": "seeds", "value": n_seeds}
            allowed = f"at least {seeds_needed(comparisons)} seeds for {comparisons} comparisons, as test is 'seeds'"
            self.problems.report("are fewer than the exact test over seeds needs", allowed=allowed, **at)
        elif n_seeds and (note := seed_note(n_seeds, max(comparisons, 0))):
            self.notes.append(note)
        return test

    def _tune(self, seeds: tuple[int, ...]) -> Tuning | None:
        with self.problems.collect():
            if self.content.get("tune") is not None:
                declared = read_tuning(self.content["tune"], self.file)
                check_seeds(declared, seeds, self.file, "tune.seeds")
                return declared
        return None

    def _tuned(self, tune: Tuning | None, ids: list[str], seeds: tuple[int, ...]) -> Tuned | None:
        """The outcome of the study's own search, or of the one that it names."""
        own, declares = self.file.stem, self.content.get("tune") is not None
        name = self.content.get("tuned", own if declares else None)
        if name is None or not self.lay_tuned:
            return None
        with self.problems.collect():
            if declares and name != own:
                problem = "is another study's; this one declares a search of its own"
                raise bad_input(problem, file=self.file, key="tuned", value=name, allowed=[own, "null"])
            if declares and not (self.library.folder / "tuned" / f"{own}.yaml").is_file():
                hint = f"run `fne tune {own}`, or write `tuned: null` to go without"
                raise bad_input("this search was not made yet", file=self.file, key="tune", hint=hint)
            tuned = read_tuned(name, self.library, self.file)
            check_seeds(tuned.declared, seeds, self._source("seeds"), "seeds")
            again = f"run `fne tune {own}`: it makes the trials that are missing"
            if tune is not None and (changed := tune.changed(tuned.declared)):
                raise bad_input("was made under another declaration", file=tuned.file, value=changed, hint=again)
            if lacking := [variant for variant in ids if variant not in tuned.values]:
                if tune is not None and self._source("variants") == self.file:
                    problem = "lacks variants of the study"
                    raise bad_input(problem, file=tuned.file, value=", ".join(lacking), hint=again)
                self.notes.append(f"without tuned values in {tuned.file.name}: {', '.join(lacking)}")
            return tuned
        return None

    def _published(self, ids: list[str]) -> Against | None:
        """What the study is set against; its variants are those of the file, whatever the command line took."""
        given = self.content.get("published")
        if given is None or not ids:
            return None
        with self.problems.collect():
            stated = ids if self._source("variants") == self.file else self._variants(self.content["variants"])
            dataset = self._section("data").get("dataset", "scenes")
            known = read_published(self.library.folder.parent)
            return read_against(given, known, stated, ids, dataset, self.file)
        return None

    def _merge(
        self, variant: str, shared: Mapping[str, Any], tuned: Tuned | None, overrides: Mapping[str, Any]
    ) -> dict[str, Any]:
        flat = dict(shared)
        for ancestor in self.library.chain(variant):
            flat |= ancestor.set
        flat |= tuned.values.get(variant, {}) if tuned else {}
        return complete(flat | overrides, f"{self.file} (variant {variant})", self.library.folder.parent)

    def _check_merged(
        self,
        merged: Mapping[str, Mapping[str, Any]],
        tune: Tuning | None,
        tuned: Tuned | None,
        overrides: Mapping[str, Any],
        complete: bool,
    ) -> None:
        """Check that parts fit, that every value is read, and that what only the user knows was given."""
        regime = self.content["regime"]
        for variant, flat in merged.items():
            with self.problems.collect():
                check_together(flat, f"{self.file} (variant {variant})", regime)
        with self.problems.collect():
            check_protocol(self.content["primary"]["protocol"], next(iter(merged.values())), self.file, complete)
        if complete:
            with self.problems.collect():
                check_given(next(iter(merged.values())), self.file)
        for variant, flat in merged.items():
            read = keys_read(flat, regime)
            for key, value in (tuned.values.get(variant, {}) if tuned else {}).items():
                if key not in read:
                    at = {"file": tuned.file, "key": f"values.{variant}.{key}", "value": value}
                    hint = why_unread(key, flat, regime)
                    self.problems.report(f"is not read by variant {variant}", hint=hint, **at)
        read = set().union(*(keys_read(flat, regime) for flat in merged.values()))
        sources = [
            (COMMAND_LINE, "", overrides),
            (self.file, "set.", flatten(self._section("set"), self.file)),
        ]
        if tune is not None and self._source("variants") == self.file:
            sources.append((self.file, "tune.search.", tune.plain()["search"]))
        for where, prefix, given in sources:
            for key, value in given.items():
                if key not in read:
                    at = {"file": where, "key": f"{prefix}{key}", "value": value}
                    own = f"{key.partition('.')[0]}.source" if OPTION.fullmatch(key) else None
                    told = next((variant for variant, flat in merged.items() if own in flat), next(iter(merged)))
                    hint = f"variant {told}: {why_unread(key, merged[told], regime)}"
                    self.problems.report("is read by no variant of this study", hint=hint, **at)

    def _distinct(self, configs: Mapping[str, Mapping[str, Any]]) -> None:
        seen: dict[str, str] = {}
        for variant, config in configs.items():
            first = seen.setdefault(canonical(config), variant)
            if first != variant:
                problem = f"variants {first} and {variant} have equal resolved configs"
                hint = "they would be compared with themselves"
                self.problems.report(problem, file=self.file, key="variants", hint=hint)
