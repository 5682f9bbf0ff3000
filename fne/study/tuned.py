"""Outcomes of tuning: ``ablations/tuned/<study>.yaml``, written by ``fne tune``; values and reasons by variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fne.study.library import Library
from fne.study.model import Some
from fne.study.tuning import Place, read_tuning
from fne.study.variants import check_values
from fne.utils.errors import bad_input
from fne.utils.fields import Text, flatten
from fne.utils.models import Section, read_section
from fne.utils.problems import Problems
from fne.utils.seeds import read_seeds
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
        UserError: Lists every problem: an unknown variant or key, or a value that is not allowed.
    """
    folder, problems = library.folder / "tuned", Problems()
    known = sorted(path.stem for path in folder.glob("*.yaml") if "." not in path.stem)
    if name not in known:
        raise bad_input("unknown", file=study_file, key="tuned", value=name, allowed=[*known, "null"])
    file = folder / (f"{name}.{draw}.yaml" if draw else f"{name}.yaml")
    if not file.is_file():
        hint = f"make it: fne tune {name} --draw {draw}"
        raise bad_input("this draw of the search was not made yet", file=file, key="tuned.draw", value=draw, hint=hint)
    outcome = read_section(TunedFile, read_mapping(file), file, problems)
    problems.raise_any(str(file))
    assert outcome is not None
    values: dict[str, dict[str, Any]] = {}
    for variant, section in outcome.values.items():
        with problems.collect():
            library.variant(variant, file=file, key=f"values.{variant}")
            flat = flatten(section, file)
            values[variant] = check_values(flat, file, problems, f"values.{variant}.")
    old, seeds = "finalists" not in outcome.declared, outcome.declared.get("seeds")
    if not old:
        with problems.collect():
            seeds = read_tuning(outcome.declared, file, "declared").of_draw(draw)
    first = folder / f"{name}.yaml"
    if draw and first.is_file() and read_mapping(first).get("declared") != outcome.declared:
        hint = f"draws differ in points and seeds alone: run `{outcome.protocol.command}` again"
        problems.report(f"is another declaration than that of {first.name}", file=file, key="declared", hint=hint)
    problems.raise_any(str(file))
    return Tuned(name, file, draw, outcome.declared, old, read_seeds(seeds, file), values)
