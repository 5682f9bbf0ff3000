"""Outcomes of tuning: ``ablations/tuned/<study>.yaml``, written by ``fne tune``; values and reasons by variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fne.study.library import Library
from fne.study.model import Some
from fne.study.tuning import DRAWS_APART, Place, read_tuning
from fne.study.variants import text_of, variant_field
from fne.utils.errors import bad_input
from fne.utils.fields import Text, flatten
from fne.utils.models import Section, read_parts
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

OLD_PROTOCOL = (
    "old protocol: values tuned on one seed, with few trials on a grid, the best of which may lie at its border"
)
"""Said wherever values of such a search are used."""
SECTIONS = ("values", "reasons", "where", "ranges", "cost")
"""What a file of tuned values holds by variant."""


class Protocol(Section):
    """How the search was made; ``version`` and ``data`` stand in files of earlier versions of ``fne tune``."""

    metric: Text
    date: Text
    command: Text
    draw: int = 0
    version: int = 0
    data: Text = ""


class Cost(Section):
    """What the search of a variant took.

    Args:
        trials: Points that were tried.
        rounds: In so many rounds.
        runs: Trainings: of each trial one, of each finalist one more for each further seed.
        seconds: CPU time of all runs (on a GPU, time).
        seed_sd: Standard deviation of validation rsum (0 to 600) over tuning seeds, pooled over finalists.
    """

    trials: Some
    rounds: Some
    runs: Some
    seconds: Some
    seed_sd: Annotated[float, Field(ge=0)]


class TunedFile(Section):
    """A file of ``ablations/tuned``; what stands by variant is read by :func:`read_tuned`.

    Args:
        declared: A copy of the declaration that it was made under.
        protocol: How it was made.
        values: By variant, those that were chosen on validation.
        reasons: By variant, why, in words.
        where: By variant and key, where the best value lies: inside, flat, natural bound or open end.
        ranges: By variant and key, the range after the last round.
        cost: By variant, trials, rounds, runs and seconds.
        border: Of an earlier protocol: the keys whose best value lies at the border of its grid.
        trials: Of an earlier protocol: every trial, with its score.
    """

    declared: dict[str, Any]
    protocol: Protocol
    values: dict[str, Any]
    reasons: dict[str, Any]
    where: dict[str, dict[str, Place]] = {}
    ranges: dict[str, dict[str, Text]] = {}
    cost: dict[str, Cost] = {}
    border: dict[str, list[str]] = {}
    trials: Annotated[list[dict[str, Any]] | None, Field(title="a list of mappings")] = None


@dataclass(frozen=True)
class Tuned:
    """The values of a :class:`TunedFile`, by variant and dotted key, and how they were found.

    Args:
        name: Of the study that declares the search.
        file: Where they stand.
        draw: Of the search.
        declared: A copy of the declaration.
        old: Were they found under an earlier protocol?
        seeds: The tuning seeds.
        values: By variant.
    """

    name: str
    file: Path
    draw: int
    declared: Mapping[str, Any]
    old: bool
    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[str, Any]]


def read_tuned(name: Any, draw: int, library: Library, study_file: Path) -> Tuned:
    """Read and check a tuned file.

    Raises:
        UserError: Lists every problem: an unknown variant or key, a value that is not allowed, a missing reason.
    """
    folder = library.folder / "tuned"
    known = sorted(path.stem for path in folder.glob("*.yaml") if "." not in path.stem)
    if name not in known:
        raise bad_input("unknown", file=study_file, key="tuned", value=name, allowed=[*known, "null"])
    file, problems = folder / (f"{name}.{draw}.yaml" if draw else f"{name}.yaml"), Problems()
    if not file.is_file():
        hint = f"make it: fne tune {name} --draw {draw}"
        raise bad_input("this draw of the search was not made yet", file=file, key="tuned.draw", value=draw, hint=hint)
    parts = read_parts(TunedFile, read_mapping(file), file, problems)
    given, reasons = parts.get("values", {}), parts.get("reasons", {})
    values: dict[str, dict[str, Any]] = {variant: {} for variant in given}
    keys: dict[str, list[str]] = {variant: [] for variant in given}
    for variant, section in given.items():
        prefix = f"values.{variant}."
        with problems.collect():
            library.variant(variant, file=file, key=f"values.{variant}")
            for shown, value in flatten(section, file, prefix).items():
                with problems.collect():
                    keys[variant].append(key := shown.removeprefix(prefix))
                    values[variant][key] = variant_field(key, file, prefix).check(value, file, shown)
            text_of({f"reasons.{variant}": reasons.get(variant)}, f"reasons.{variant}", file)
    for variant in [name for name in reasons if name not in given]:
        problem = "a reason without values"
        problems.report(problem, file=file, key=f"reasons.{variant}", value=variant, allowed=list(given))
    declared = parts.get("declared", {})
    old = "finalists" not in declared
    for section, whole in (("border", False), ("where", not old), ("ranges", not old)):
        its = parts.get(section, {})
        for variant in {**its, **(values if whole else {})}:
            result, allowed = [*its.get(variant, {})], keys.get(variant, [])
            if {*result} - {*allowed} or (whole and {*result} != {*allowed}):
                at = {"file": file, "key": f"{section}.{variant}", "value": result, "allowed": allowed}
                problems.report("are not the keys of its values", **at)
    seeds = declared.get("seeds")
    if not old:
        with problems.collect():
            read_tuning(declared, file, "declared")
        _check_draw(parts, draw, file, folder / f"{name}.yaml", problems)
    elif not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        problems.report("must be a list of seeds", file=file, key="declared.seeds", value=seeds)
    problems.raise_any(str(file))
    on = tuple(seed + DRAWS_APART * draw for seed in seeds)
    return Tuned(name, file, draw, declared, old, on, values)


def _check_draw(parts: Mapping[str, Any], draw: int, file: Path, first: Path, problems: Problems) -> None:
    """Check that a file is of the draw that its name says, and was made under the declaration of draw 0."""
    protocol = parts.get("protocol")
    if protocol is not None and protocol.draw != draw:
        problem = "is not the draw of the file's name"
        problems.report(problem, file=file, key="protocol.draw", value=protocol.draw, allowed=[draw])
    if draw and first.is_file() and read_mapping(first).get("declared") != parts.get("declared"):
        hint = f"draws differ in points and seeds alone: run `{protocol.command if protocol else 'fne tune'}` again"
        problems.report(f"is another declaration than that of {first.name}", file=file, key="declared", hint=hint)
