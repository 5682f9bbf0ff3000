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
from fne.utils.fields import Text, flatten
from fne.utils.models import Section, read_parts
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping


class Protocol(Section):
    """How the search was made; ``version`` and ``data`` stand in files of earlier versions of ``fne tune``."""

    metric: Text
    date: Text
    command: Text
    version: int = 0
    data: Text = ""


class TunedFile(Section):
    """A file of ``ablations/tuned``; what stands by variant is read by :func:`read_tuned`.

    Args:
        declared: A copy of the declaration that it was made under.
        protocol: How it was made.
        values: By variant, those that were chosen on validation.
        reasons: By variant, why, in words.
        border: By variant, the keys whose best value lies at the border of its range.
        trials: Every trial, with its score.
    """

    declared: Any
    protocol: Protocol
    values: dict[str, Any]
    reasons: dict[str, Any]
    border: dict[str, list[str]]
    trials: Any = None


@dataclass(frozen=True)
class Tuned:
    """The values of a :class:`TunedFile`, by variant and dotted key, and the declaration that they were found under."""

    name: str
    file: Path
    declared: Tuning
    values: Mapping[str, Mapping[str, Any]]


def read_tuned(name: Any, library: Library, study_file: Path) -> Tuned:
    """Read and check a tuned file.

    Raises:
        UserError: Lists every problem: an unknown variant or key, a value that is not allowed, a missing reason.
    """
    folder = library.folder / "tuned"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise bad_input("unknown", file=study_file, key="tuned", value=name, allowed=[*known, "null"])
    file, problems = folder / f"{name}.yaml", Problems()
    parts = read_parts(TunedFile, read_mapping(file), file, problems)
    with problems.collect():
        parts["declared"] = read_tuning(parts.get("declared"), file, "declared")
    given, reasons = parts.get("values", {}), parts.get("reasons", {})
    values: dict[str, dict[str, Any]] = {variant: {} for variant in given}
    for variant, section in given.items():
        prefix = f"values.{variant}."
        with problems.collect():
            library.variant(variant)
            for shown, value in flatten(section, file, prefix).items():
                with problems.collect():
                    key = shown.removeprefix(prefix)
                    values[variant][key] = variant_field(key, file, prefix).check(value, file, shown)
            text_of({f"reasons.{variant}": reasons.get(variant)}, f"reasons.{variant}", file)
    for variant in [name for name in reasons if name not in given]:
        problem = "a reason without values"
        problems.report(problem, file=file, key=f"reasons.{variant}", value=variant, allowed=list(given))
    for variant, keys in parts.get("border", {}).items():
        if {*keys} - {*values.get(variant, {})}:
            allowed = "a list of keys of its values"
            problems.report("must be", file=file, key=f"border.{variant}", value=keys, allowed=allowed)
    problems.raise_any(str(file))
    return Tuned(name, file, parts["declared"], values)
