"""What is checked once a study's variants are merged: every value is read, parts fit, no two are equal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fne.encoders.checkpoints import check_shared_space
from fne.study.paths import check_named
from fne.study.series import TUNING_DRAW
from fne.study.study_file import COMMAND_LINE, Loading
from fne.study.tuned import Tuned
from fne.study.tuning import ROUNDS, Axis, Tuning, check_trials
from fne.study.validate import check_protocol, check_together, keys_read, why_unread
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import OPTION, canonical, flatten


def check_merged(
    loading: Loading,
    merged: Mapping[str, Mapping[str, Any]],
    tune: Tuning | None,
    tuned: Tuned | None,
    overrides: Mapping[str, Any],
    complete: bool,
) -> None:
    """Check that parts fit, that every value is read, and that what only the user knows was given."""
    regime = loading.content["regime"]
    for variant, flat in merged.items():
        with loading.problems.collect():
            check_together(flat, f"{loading.file} (variant {variant})", regime)
    with loading.problems.collect():
        check_protocol(loading.content["primary"]["protocol"], next(iter(merged.values())), loading.file, complete)
    if complete:
        with loading.problems.collect():
            check_named(next(iter(merged.values())), loading.file)
    for flat in merged.values() if complete and regime == "finetune" else ():
        encoders = {side: {"checkpoint": flat[f"encoders.{side}.checkpoint"]} for side in ("image", "text")}
        with loading.problems.collect():
            check_shared_space(encoders, flat["finetune.projection"])
    for variant, flat in merged.items():
        read = keys_read(flat, regime)
        for key, value in tuned.values.get(variant, {}).items() if tuned else ():
            if tuned and key not in read:
                at = {"file": tuned.file, "key": f"values.{variant}.{key}", "value": value}
                hint = why_unread(key, flat, regime)
                loading.problems.report(f"is not read by variant {variant}", hint=hint, **at)
    read = {key for flat in merged.values() for point in loading.points for key in keys_read({**flat, **point}, regime)}
    sources = [
        (COMMAND_LINE, "", overrides),
        (loading.file, "", flatten({name: loading.section(name) for name in ("data", "encoders")}, loading.file)),
        (loading.file, "factors.", dict.fromkeys(loading.point.keys() - {TUNING_DRAW})),
        (loading.file, "set.", flatten(loading.section("set"), loading.file)),
    ]
    if tune is not None and loading.source("variants") == loading.file:
        sources.append((loading.file, "tune.search.", dict.fromkeys(tune.search)))
        check_trials(
            tune, {item: keys_read(flat, regime) for item, flat in merged.items()}, loading.file, loading.problems
        )
    for where, prefix, given in sources:
        for key, value in given.items():
            if key not in read:
                at = {"file": where, "key": f"{prefix}{key}", "value": value}
                own = f"{key.partition('.')[0]}.options." if OPTION.fullmatch(key) else key
                using = (
                    v for v, flat in merged.items() if any(item.startswith(own) for item in keys_read(flat, regime))
                )
                summary = next(using, next(iter(merged)))
                hint = f"variant {summary}: {why_unread(key, merged[summary], regime)}"
                loading.problems.report("is read by no variant of this study", hint=hint, **at)


def axes_of(loading: Loading, merged: Mapping[str, Mapping[str, Any]], tune: Tuning) -> dict[str, dict[str, Axis]]:
    """The axes of every variant: the declared ranges of the keys that it reads.

    Whole numbers that a variant cannot have at the least end of a range, such as no warm-up where a rule needs one, are
    left out: its natural bound is the least that it can have. Every other end, those that ranges may be extended to,
    and every two of them together must fit, and leave all other axes and no further key to be read.
    """
    regime, result = loading.content["regime"], dict[str, dict[str, Axis]]()
    for variant, flat in merged.items():
        where = f"{loading.file} (variant {variant}; tune.search may be extended so far)"

        def misfit(values: Mapping[str, Any], flat: Mapping[str, Any] = flat, where: str = where) -> UserError | None:
            try:
                check_together({**flat, **values}, where, regime)
            except UserError as error:
                return error
            return None

        axes = result[variant] = {}
        for key, axis in tune.axes(keys_read(flat, regime)).items():
            while axis.kind == "integer" and axis.low + 1 < axis.high and misfit({key: int(axis.low)}):
                axis = axis.raised("the least that this variant can have")
            axes[key] = axis
        ends, before = {key: axis.furthest(ROUNDS) for key, axis in axes.items()}, len(loading.problems.messages)
        for key, values in ends.items():
            for value in values:
                with loading.problems.collect():
                    if error := misfit({key: value}):
                        raise error
                    _check_reads(variant, flat, key, value, axes, loading.file, regime)
        if len(loading.problems.messages) > before:
            continue
        for (item, some), (other, others) in itertools.combinations(ends.items(), 2):
            for value, another in itertools.product(some, others):
                with loading.problems.collect():
                    if error := misfit({item: value, other: another}):
                        raise error
    return result


def _check_reads(
    variant: str, flat: Mapping[str, Any], key: str, value: Any, axes: Iterable[str], file: Path, regime: str
) -> None:
    """Check that a value on an axis leaves all other axes to be read, and no key that is not read otherwise.

    Raises:
        UserError: It does not.
    """
    before, then = keys_read(flat, regime), keys_read({**flat, key: value}, regime)
    at = {"file": file, "key": f"tune.search.{key}", "value": value}
    if more := [name for name in flat if name in then - before]:
        hint = f"give the study a value of {key} at which they are read, under set"
        raise bad_input(f"makes variant {variant} read further keys: {', '.join(more)}", hint=hint, **at)
    if lost := [name for name in axes if name not in then]:
        hint = f"leave that value out of the range, or search one of {', '.join([key, *lost])} alone"
        raise bad_input(f"makes variant {variant} read no {', '.join(lost)}, which is searched too", hint=hint, **at)


def check_distinct(loading: Loading, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse variants with equal configs."""
    seen: dict[str, str] = {}
    for variant, config in configs.items():
        first = seen.setdefault(canonical(config), variant)
        if first != variant:
            problem = f"variants {first} and {variant} have equal resolved configs"
            hint = "they would be compared with themselves"
            loading.problems.report(problem, file=loading.file, key="variants", hint=hint)
