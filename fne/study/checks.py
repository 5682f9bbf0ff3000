"""What is checked once a study's variants are merged: every value is read, parts fit, no two are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.checkpoints import check_lora, check_sides
from fne.study.paths import MODALITIES, check_named
from fne.study.series import TUNING_DRAW
from fne.study.study_file import COMMAND_LINE, Loading
from fne.study.tuned import Tuned
from fne.study.tuning import PER_AXIS, ROUNDS, Axis, Tuning
from fne.study.validate import check_protocol, check_together, keys_read, space_of, why_unread
from fne.utils.errors import UserError
from fne.utils.fields import canonical, flatten
from fne.utils.files import expanded

Configs = Mapping[str, Mapping[str, Any]]


def check_merged(
    loading: Loading,
    merged: Configs,
    tune: Tuning | None,
    tuned: Tuned | None,
    overrides: Mapping[str, Any],
    complete: bool,
) -> None:
    """Check that parts fit, that every value is read, and that what only the user knows was given."""
    regime, problems, file = loading.study.regime, loading.problems, loading.file
    first = next(iter(merged.values()))
    for variant, flat in merged.items():
        with problems.collect():
            check_together(flat, f"{file} (variant {variant})", regime)
        if complete:
            encoders = {
                side: {name: flat[f"encoders.{side}.{name}"] for name in ("checkpoint", "pooling")}
                for side in MODALITIES
            }
            with problems.collect():
                check_sides(encoders, *space_of(flat, regime))
            if "finetune.lora_modules" in keys_read(flat, regime):
                folders = {side: expanded(str(section["checkpoint"])) for side, section in encoders.items()}
                trained = {side: folder for side, folder in folders.items()
                           if flat["finetune.trained"] in (side, "both") and folder.is_dir()}  # fmt: skip
                with problems.collect():
                    check_lora(trained, flat["finetune.lora_modules"])
    with problems.collect():
        check_protocol(loading.study.primary.protocol, first, file, complete)
    if complete:
        with problems.collect():
            check_named(first, file)
    read_by = {variant: keys_read(flat, regime) for variant, flat in merged.items()}
    for variant, flat in merged.items():
        for key, value in tuned.values.get(variant, {}).items() if tuned else ():
            if tuned and key not in read_by[variant]:
                at = {"file": tuned.file, "key": f"values.{variant}.{key}", "value": value}
                problems.report(f"is not read by variant {variant}", hint=why_unread(key, flat, regime), **at)
    read = {key for flat in merged.values() for point in loading.points for key in keys_read({**flat, **point}, regime)}
    sources = [
        (COMMAND_LINE, "", overrides),
        (file, "", flatten({"data": loading.study.data, "encoders": loading.study.encoders})),
        (file, "factors.", dict.fromkeys(loading.point.keys() - {TUNING_DRAW})),
        (file, "set.", flatten(loading.study.set)),
    ]
    if tune is not None and loading.source("variants") == file:
        sources.append((file, "tune.search.", dict.fromkeys(tune.search)))
        if tune.trials < (least := PER_AXIS * max(len(tune.search.keys() & keys) for keys in read_by.values())):
            allowed = f"at least {least}, {PER_AXIS} for each of the axes that a variant reads"
            problems.report("are too few", file=file, key="tune.trials", value=tune.trials, allowed=allowed)
    for where, prefix, given in sources:
        for key, value in given.items():
            if key not in read:
                at = {"file": where, "key": f"{prefix}{key}", "value": value}
                hint = f"variant {next(iter(merged))}: {why_unread(key, first, regime)}"
                problems.report("is read by no variant of this study", hint=hint, **at)


def axes_of(loading: Loading, merged: Configs, tune: Tuning) -> dict[str, dict[str, Axis]]:
    """The axes of every variant: the declared ranges of the keys that it reads.

    Whole numbers that a variant cannot have at the least end of a range, such as no warm-up where a rule needs one, are
    left out: its natural bound is the least that it can have. Every other end, also of those that ranges may be
    extended to, must fit, leave all other axes to be read, and make the variant read no further key.
    """
    regime, result = loading.study.regime, dict[str, dict[str, Axis]]()
    for variant, flat in merged.items():

        def misfit(key: str, value: Any, variant: str = variant, flat: Mapping[str, Any] = flat) -> UserError | None:
            try:
                where = f"{loading.file} (variant {variant}; tune.search may be extended so far)"
                check_together({**flat, key: value}, where, regime)
            except UserError as error:
                return error
            return None

        axes, read = result.setdefault(variant, {}), keys_read(flat, regime)
        for key, axis in tune.axes(read).items():
            while axis.kind == "integer" and axis.low + 1 < axis.high and misfit(key, int(axis.low)):
                axis = axis.raised("the least that this variant can have")
            axes[key] = axis
            for value in axis.furthest(ROUNDS):
                if error := misfit(key, value):
                    loading.problems.add(error)
                    continue
                then = keys_read({**flat, key: value}, regime)
                if changed := (then - read) | ((tune.search.keys() & read) - then):
                    at = {"file": loading.file, "key": f"tune.search.{key}", "value": value}
                    problem = f"changes which keys variant {variant} reads: {', '.join(sorted(changed))}"
                    loading.problems.report(problem, hint="leave that value out of the range", **at)
    return result


def check_distinct(loading: Loading, configs: Configs) -> None:
    """Refuse variants with equal configs."""
    seen: dict[str, str] = {}
    for variant, config in configs.items():
        first = seen.setdefault(canonical(config), variant)
        if first != variant:
            problem = f"variants {first} and {variant} have equal resolved configs"
            loading.problems.report(problem, file=loading.file, key="variants")
