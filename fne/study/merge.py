"""The layers of a study's configs: base, the study's own values, variants, tuned values, the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from fne.data.published import read_published
from fne.study.library import Library
from fne.study.model import DATASETS, data_keys
from fne.study.plugins import KEYS, complete, keys_for
from fne.study.published_comparison import PublishedComparison, read_published_comparison
from fne.study.series import TUNING_DRAW
from fne.study.study import trains
from fne.study.study_file import COMMAND_LINE, STUDY_LEVEL, Loading, read_ids
from fne.study.tuned import OLD_PROTOCOL, Tuned, read_tuned
from fne.study.tuning import Tuning, check_seeds, read_tuning
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import Key, check_all, checked, flatten
from fne.utils.files import expanded


def trained_variants(loading: Loading, ids: list[str]) -> list[str]:
    """Those of some variants that train anything."""
    library, regime = loading.library, loading.study.regime
    merged = {name: {**library.base, **_delta(library, name)} for name in ids}
    return [name for name in ids if trains(merged[name], regime)]


def _delta(library: Library, variant: str) -> dict[str, Any]:
    """What a variant and its ancestors set."""
    return {key: value for ancestor in library.chain(variant) for key, value in ancestor.set.items()}


def with_zero_shot(loading: Loading, ids: list[str], shared: Mapping[str, Any]) -> list[str]:
    """The variants, and first one of the library that trains nothing, where both sides share a checkpoint's own space.

    A study whose encoders are two checkpoints may list it itself; nothing here knows that they share a space.
    """
    values = {key: [shared[f"encoders.{side}.{key}"] for side in ("image", "text")]
              for key in ("checkpoint", "revision", "pooling", "level")}  # fmt: skip
    one = len({str(expanded(str(name))) for name in values["checkpoint"]}) == len({*values["revision"]}) == 1
    joint = {*values["pooling"]} <= {None, "joint"} and {*values["level"]} == {"pooled"}
    if not (one and joint) or {None, "scenes"} & {*values["checkpoint"]} or trained_variants(loading, ids) != ids:
        return ids
    if loading.source("variants") != loading.file:
        return ids
    for stem in loading.library.stems():
        with contextlib.suppress(UserError):  # of a file that this study does not name
            for member in loading.library.members(stem):
                if not trained_variants(loading, [member]):
                    loading.library.check(member)
                    return [member, *ids]
    loading.notes.append("no scores before training: no variant of the library trains nothing")
    return ids


def typed_overrides(loading: Loading) -> dict[str, Any]:
    """The command line's config values; a whole section given as a mapping counts as its leaves."""
    typed: dict[str, Any] = {}
    with loading.problems.collect():
        flat = flatten(loading.overrides, COMMAND_LINE)
        dataset = flat.get("data.dataset", _dataset(loading))
        keys = keys_for(dataset) if dataset in list(DATASETS) else KEYS
        for key, value in flat.items():
            with loading.problems.collect():
                if key in loading.point:
                    raise bad_input("is a factor of the study", file=COMMAND_LINE, key=key, value=value)
                typed[key] = checked(value, key, {**dict.fromkeys(STUDY_LEVEL, Key(str)), **keys}, COMMAND_LINE)
    return typed


def _dataset(loading: Loading) -> Any:
    """The data set of the file."""
    return loading.study.data.get("dataset", "scenes")


def shared_values(loading: Loading, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Base with the study's data, encoders and set: what every variant starts from."""
    shared, file = dict(loading.library.base), loading.file

    def lay(section: str, keys: Mapping[str, Key], prefix: str = "") -> None:
        with loading.problems.collect():
            at_point = {key: value for key, value in loading.point.items() if prefix and key.startswith(prefix)}
            given = flatten(getattr(loading.study, section), file, prefix) | at_point
            shared.update(check_all(given, keys, file, loading.problems, "" if prefix else f"{section}."))

    with loading.problems.collect():
        dataset = overrides.get("data.dataset", _dataset(loading))
        if dataset not in list(DATASETS):
            raise bad_input("unknown", file=file, key="data.dataset", value=dataset, allowed=DATASETS)
        shared = loading.library.data_template(dataset) | shared
        lay("data", data_keys(dataset), "data.")
    if loading.study.as_released:
        if loading.study.regime != "finetune":
            loading.problems.report("belongs to the regime finetune", file=file, key="as_released", value=True)
        with loading.problems.collect():
            shared |= loading.library.released
    lay("encoders", KEYS, "encoders.")
    lay("set", {key: field for key, field in KEYS.items() if not key.startswith("encoders.")})
    return shared


def read_search(loading: Loading, seeds: tuple[int, ...]) -> Tuning | None:
    """The search that the study declares."""
    with loading.problems.collect():
        if loading.study.tune is not None:
            declared = read_tuning(loading.study.tune, loading.file)
            check_seeds(declared.seeds, seeds, loading.file, "tune.seeds")
            return declared
    return None


def read_outcome(loading: Loading, tune: Tuning | None, ids: list[str], seeds: tuple[int, ...]) -> Tuned | None:
    """The outcome of the study's own search, or of the one that it names; None without one."""
    own, declares = loading.file.stem, loading.study.tune is not None
    name = loading.study.tuned if "tuned" in loading.study.model_fields_set else own if declares else None
    draw = int(loading.point.get(TUNING_DRAW, 0))
    with loading.problems.collect():
        if name is None and TUNING_DRAW in loading.point:
            hint = "name the study whose search it is: tuned"
            raise bad_input("is of no search", file=loading.file, key=f"factors.{TUNING_DRAW}", hint=hint)
        if declares and name not in (own, None):
            problem = "is another study's; this one declares a search of its own"
            raise bad_input(problem, file=loading.file, key="tuned", value=name, allowed=[own, "null"])
        if name is None:
            return None
        if declares and not (loading.library.folder / "tuned" / f"{own}.yaml").is_file():
            hint = f"run `fne tune {own}`, or write `tuned: null` to go without"
            raise bad_input("this search was not made yet", file=loading.file, key="tune", hint=hint)
        tuned = read_tuned(name, draw, loading.library, loading.file)
        check_seeds(tuned.seeds, seeds, loading.source("seeds"), "seeds")
        again = f"run `fne tune {name}{f' --draw {draw}' if draw else ''}`: it makes the trials that are missing"
        if tuned.old:
            loading.notes.append(OLD_PROTOCOL)
        elif tune is not None and not tune.is_of(tuned.declared):
            raise bad_input("was made under another declaration", file=tuned.file, key="declared", hint=again)
        if missing := [variant for variant in ids if variant not in tuned.values]:
            searched_here = declares and not tuned.old and loading.source("variants") == loading.file
            if draw or searched_here:
                raise bad_input("lacks variants of the study", file=tuned.file, value=", ".join(missing), hint=again)
            loading.notes.append(f"without tuned values in {tuned.file.name}: {', '.join(missing)}")
        return tuned
    return None


def read_comparison(loading: Loading, ids: list[str]) -> PublishedComparison | None:
    """What the study is set against; its variants are those of the file, whatever the command line took."""
    given = loading.study.published
    if given is None or not ids:
        return None
    with loading.problems.collect():
        whole = ids if loading.source("variants") == loading.file else read_ids(loading, loading.study.variants)
        known = read_published(loading.library.folder.parent)
        return read_published_comparison(given, known, whole, ids, _dataset(loading), loading.file)
    return None


def merge(
    loading: Loading, variant: str, shared: Mapping[str, Any], tuned: Tuned | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """One variant's merged config, flat, plug-ins completed."""
    flat = dict(shared)
    for ancestor in loading.library.chain(variant):
        flat |= ancestor.set
    flat |= tuned.values.get(variant, {}) if tuned else {}
    return complete({**flat, **overrides}, f"{loading.file} (variant {variant})", loading.library.folder.parent)
