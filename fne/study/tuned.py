"""Outcomes of tuning: ``ablations/tuned/<study>.yaml``, written by ``fne tune``; values and reasons by variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.study.library import Library
from fne.study.tuning import Tuning, read_tuning
from fne.study.variants import text_of, variant_field
from fne.utils.errors import bad_input
from fne.utils.fields import flatten
from fne.utils.models import only_keys
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

TUNED_KEYS = ("declared", "protocol", "values", "reasons", "border", "trials")
PROTOCOL_KEYS = ("metric", "date", "command")


@dataclass(frozen=True)
class Tuned:
    """Values chosen on validation, per variant, dotted keys.

    Args:
        name: File stem.
        file: The file.
        declared: A copy of the declaration that it was made under.
        values: Per variant.
        reasons: Per variant, in words.
        border: Per variant the keys whose best value lies at the border of its range.
    """

    name: str
    file: Path
    declared: Tuning
    values: Mapping[str, Mapping[str, Any]]
    reasons: Mapping[str, str]
    border: Mapping[str, tuple[str, ...]]


def read_tuned(name: Any, library: Library, study_file: Path) -> Tuned:
    """Read and check a tuned file.

    Raises:
        UserError: Lists every problem: an unknown variant or key, a value that is not allowed, a missing
            reason.
    """
    folder = library.folder / "tuned"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise bad_input("unknown", file=study_file, key="tuned", value=name, allowed=[*known, "null"])
    file = folder / f"{name}.yaml"
    content = read_mapping(file)
    problems = Problems()
    with problems.collect():
        only_keys(content, TUNED_KEYS, file)
    sections: dict[str, dict[str, Any]] = {}
    for key in ("protocol", "values", "reasons", "border"):
        section = content.get(key)
        if not isinstance(section, dict):
            problems.report("must be a mapping", file=file, key=key, value=section)
        sections[key] = section if isinstance(section, dict) else {}
    for key in PROTOCOL_KEYS:
        if sections["protocol"].get(key) is None:
            problems.report("is missing", file=file, key=f"protocol.{key}")
    declared = None
    with problems.collect():
        declared = read_tuning(content.get("declared"), file, "declared")
    values: dict[str, dict[str, Any]] = {}
    for variant, given in sections["values"].items():
        with problems.collect():
            library.variant(variant)
            if not isinstance(given, dict):
                raise bad_input("must be a mapping", file=file, key=f"values.{variant}", value=given)
            prefix = f"values.{variant}."
            values[variant] = {}
            for key, value in flatten(given, file).items():
                with problems.collect():
                    values[variant][key] = variant_field(key, file, prefix).check(value, file, f"{prefix}{key}")
            text_of({f"reasons.{variant}": sections["reasons"].get(variant)}, f"reasons.{variant}", file)
    for variant in sections["reasons"]:
        if variant not in sections["values"]:
            problems.report(
                "a reason without values",
                file=file,
                key=f"reasons.{variant}",
                value=variant,
                allowed=list(sections["values"]),
            )
    for variant, keys in sections["border"].items():
        if not isinstance(keys, list) or any(key not in list(values.get(variant, {})) for key in keys):
            allowed = "a list of keys of its values"
            problems.report("must be", file=file, key=f"border.{variant}", value=keys, allowed=allowed)
    problems.raise_any(str(file))
    border = {variant: tuple(keys) for variant, keys in sections["border"].items() if keys}
    return Tuned(name, file, declared, values, dict(sections["reasons"]), border)
