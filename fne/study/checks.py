"""What is checked once a study's variants are merged: every value is read, parts fit, no two are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.checkpoints import check_shared_space
from fne.study.paths import check_named
from fne.study.study_file import COMMAND_LINE, Stated
from fne.study.tuned import Tuned
from fne.study.tuning import Tuning
from fne.study.validate import check_protocol, check_together, keys_read, why_unread
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
        (stated.file, "factors.", dict.fromkeys(stated.point)),
        (stated.file, "set.", flatten(stated.section("set"), stated.file)),
    ]
    if tune is not None and stated.source("variants") == stated.file:
        sources.append((stated.file, "tune.search.", tune.plain()["search"]))
    for where, prefix, given in sources:
        for key, value in given.items():
            if key not in read:
                at = {"file": where, "key": f"{prefix}{key}", "value": value}
                own = f"{key.partition('.')[0]}.options." if OPTION.fullmatch(key) else key
                using = (v for v, flat in merged.items() if any(one.startswith(own) for one in keys_read(flat, regime)))
                told = next(using, next(iter(merged)))
                hint = f"variant {told}: {why_unread(key, merged[told], regime)}"
                stated.problems.report("is read by no variant of this study", hint=hint, **at)


def check_distinct(stated: Stated, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse variants with equal configs."""
    seen: dict[str, str] = {}
    for variant, config in configs.items():
        first = seen.setdefault(canonical(config), variant)
        if first != variant:
            problem = f"variants {first} and {variant} have equal resolved configs"
            hint = "they would be compared with themselves"
            stated.problems.report(problem, file=stated.file, key="variants", hint=hint)
