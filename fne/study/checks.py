"""What is checked once a study's variants are merged: every value is read, parts fit, no two are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.checkpoints import check_shared_space
from fne.study.paths import check_named
from fne.study.series import TUNING_DRAW
from fne.study.study_file import COMMAND_LINE, Stated
from fne.study.tuned import Tuned
from fne.study.tuning import ROUNDS, Axis, Tuning, check_trials
from fne.study.validate import check_protocol, check_together, keys_read, why_unread
from fne.utils.errors import UserError
from fne.utils.fields import OPTION, canonical, flatten


def check_merged(
    stated: Stated,
    merged: Mapping[str, Mapping[str, Any]],
    tune: Tuning | None,
    tuned: Tuned | None,
    overrides: Mapping[str, Any],
    complete: bool,
) -> None:
    """Check that parts fit, that every value is read, and that what only the user knows was given."""
    regime = stated.content["regime"]
    for variant, flat in merged.items():
        with stated.problems.collect():
            check_together(flat, f"{stated.file} (variant {variant})", regime)
    with stated.problems.collect():
        check_protocol(stated.content["primary"]["protocol"], next(iter(merged.values())), stated.file, complete)
    if complete:
        with stated.problems.collect():
            check_named(next(iter(merged.values())), stated.file)
    for flat in merged.values() if complete and regime == "finetune" else ():
        encoders = {side: {"checkpoint": flat[f"encoders.{side}.checkpoint"]} for side in ("image", "text")}
        with stated.problems.collect():
            check_shared_space(encoders, flat["finetune.projection"])
    for variant, flat in merged.items():
        read = keys_read(flat, regime)
        for key, value in tuned.values.get(variant, {}).items() if tuned else ():
            if tuned and key not in read:
                at = {"file": tuned.file, "key": f"values.{variant}.{key}", "value": value}
                hint = why_unread(key, flat, regime)
                stated.problems.report(f"is not read by variant {variant}", hint=hint, **at)
    read = {key for flat in merged.values() for point in stated.points for key in keys_read({**flat, **point}, regime)}
    sources = [
        (COMMAND_LINE, "", overrides),
        (stated.file, "", flatten({name: stated.section(name) for name in ("data", "encoders")}, stated.file)),
        (stated.file, "factors.", dict.fromkeys(stated.point.keys() - {TUNING_DRAW})),
        (stated.file, "set.", flatten(stated.section("set"), stated.file)),
    ]
    if tune is not None and stated.source("variants") == stated.file:
        sources.append((stated.file, "tune.search.", dict.fromkeys(tune.search)))
        check_trials(tune, {one: keys_read(flat, regime) for one, flat in merged.items()}, stated.file, stated.problems)
    for where, prefix, given in sources:
        for key, value in given.items():
            if key not in read:
                at = {"file": where, "key": f"{prefix}{key}", "value": value}
                own = f"{key.partition('.')[0]}.options." if OPTION.fullmatch(key) else key
                using = (v for v, flat in merged.items() if any(one.startswith(own) for one in keys_read(flat, regime)))
                told = next(using, next(iter(merged)))
                hint = f"variant {told}: {why_unread(key, merged[told], regime)}"
                stated.problems.report("is read by no variant of this study", hint=hint, **at)


def axes_of(stated: Stated, merged: Mapping[str, Mapping[str, Any]], tune: Tuning) -> dict[str, dict[str, Axis]]:
    """The axes of every variant: the declared ranges of the keys that it reads.

    Whole numbers that a variant cannot have at the least end of a range, such as no warm-up where a rule needs one, are
    left out: its natural bound is the least that it can have. Every other end, and those that ranges may be extended
    to, must fit.
    """
    regime, found = stated.content["regime"], dict[str, dict[str, Axis]]()
    for variant, flat in merged.items():
        where = f"{stated.file} (variant {variant}; tune.search may be extended so far)"

        def fits(key: str, value: Any, flat: Mapping[str, Any] = flat, where: str = where) -> bool:
            try:
                check_together({**flat, key: value}, where, regime)
            except UserError:
                return False
            return True

        axes = found[variant] = {}
        for key, axis in tune.axes(keys_read(flat, regime)).items():
            while axis.kind == "integer" and axis.low + 1 < axis.high and not fits(key, int(axis.low)):
                axis = axis.raised("the least that this variant can have")
            axes[key] = axis
            for value in axis.furthest(ROUNDS):
                with stated.problems.collect():
                    check_together({**flat, key: value}, where, regime)
    return found


def check_distinct(stated: Stated, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse variants with equal configs."""
    seen: dict[str, str] = {}
    for variant, config in configs.items():
        first = seen.setdefault(canonical(config), variant)
        if first != variant:
            problem = f"variants {first} and {variant} have equal resolved configs"
            hint = "they would be compared with themselves"
            stated.problems.report(problem, file=stated.file, key="variants", hint=hint)
