"""A study file with what the command line changes: which variants, seeds, primary metric and test it states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from fne.protocols import METRICS, PROTOCOLS
from fne.study.library import Library
from fne.study.model import REGIMES
from fne.study.series import Factors
from fne.utils.errors import bad_input
from fne.utils.fields import Choice, Text
from fne.utils.min_seeds import reachable, seed_note, seeds_needed
from fne.utils.models import Section, read_section
from fne.utils.names import LONGEST
from fne.utils.problems import Problems
from fne.utils.seeds import block_names, read_block_size, read_seeds
from fne.utils.yaml_file import read_mapping

STUDY_LEVEL = ("variants", "seeds", "block", "baseline")
"""Study keys (beside config keys) that the command line may override."""
COMMAND_LINE = "command line"


class Primary(Section):
    """The primary metric: its name, protocol and direction, which a metric of one direction need not say."""

    metric: str
    protocol: str
    direction: str | None = None


class StudyFile(Section):
    """A file of ``ablations/studies``.

    Args:
        title: Its title.
        question: The question it answers.
        regime: Frozen encoders and trained heads, or whole encoders that are trained.
        variants: Ids in the order of the tables; a sweep's stem stands for its members.
        seeds: Integers, or text such as ``0-4``.
        block: Seeds per training job.
        baseline: The variant that all others are compared with.
        primary: The metric that claims rest on.
        method: The variant that the study is about.
        control: The method without what it is about.
        data: Data set and its values; the others are those of ``base.yaml``.
        encoders: The same of the encoders.
        factors: Keys of data, or the draw of the encoders, and the values of each; each point is a study.
        design: Of factors: every combination (``crossed``), or ``corners``.
        as_released: Take every value of ``ablations/released.yaml``.
        set: Values of other keys, which all variants start from.
        tune: The search that it declares.
        tuned: The study whose tuned values it takes; its own where it declares a search; null: none.
        test: What p values are about: other test ``images``, or training again with other ``seeds``.
        published: The published results that it is set against.
    """

    title: Text = Field(examples=["My corpus"])
    question: Text = Field(examples=["Does eliminating false negatives help on my images?"])
    regime: Annotated[str, Choice(REGIMES)] = Field(examples=["head"])
    variants: Any = Field(examples=[["random", "fne"]])
    seeds: Any = Field(examples=["0-4"])
    block: Any = Field(examples=[5])
    baseline: Any = Field(examples=["random"])
    primary: Primary = Field(examples=[{"metric": "rsum", "protocol": "own"}])
    method: str | None = None
    control: str | None = None
    data: dict[str, Any] = {}
    encoders: dict[str, Any] = {}
    factors: Any = None
    design: Any = None
    as_released: bool = False
    set: dict[str, Any] = {}
    tune: Any = None
    tuned: Any = None
    test: Literal["images", "seeds"] = "images"
    published: Any = None


class Loading:
    """One study file as it is loaded once. Problems of independent parts are collected; what builds on them waits.

    Args:
        name: Of the study: the file's stem, or the id of a member of a study with factors.
        file: The file.
        library: Base and variants.
        overrides: What the command line set.
        factors: What the file varies, or None.

    Raises:
        UserError: A key of the file is missing, unknown or of a wrong type.
    """

    def __init__(
        self, name: str, file: Path, library: Library, overrides: Mapping[str, Any], factors: Factors | None
    ) -> None:
        self.name, self.file, self.library = name, file, library
        members = factors.members if factors else {name: {}}
        self.point, self.points = members[name], tuple(members.values())
        self.problems, self.notes = Problems(), list[str]()
        study = read_section(StudyFile, read_mapping(file), file, self.problems)
        self.stop()
        assert study is not None
        self.study = study
        self.level = {key: overrides.get(key, getattr(study, key)) for key in STUDY_LEVEL}
        self.given = {key for key in STUDY_LEVEL if key in overrides}
        self.overrides = {key: value for key, value in overrides.items() if key not in STUDY_LEVEL}

    def stop(self) -> None:
        """Raise what was collected so far, if anything."""
        self.problems.raise_any(f"study {self.name!r}")

    def source(self, key: str) -> str | Path:
        """Where the value of a study-level key stands."""
        return self.file if self.level[key] == getattr(self.study, key) else COMMAND_LINE

    def given_levels(self) -> dict[str, Any]:
        """Study-level values that the command line gives, lists as text."""
        return {
            key: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            for key, value in self.level.items()
            if key in self.given
        }


def read_seeds_and_block(loading: Loading) -> tuple[tuple[int, ...], int]:
    """The seeds, and how many of them train together."""
    seeds: tuple[int, ...] = ()
    block = 1
    with loading.problems.collect():
        seeds = read_seeds(loading.level["seeds"], loading.source("seeds"))
    with loading.problems.collect():
        block = read_block_size(loading.level["block"], loading.source("block"))
    if len(max(block_names(seeds, block), key=len, default="")) > LONGEST:
        hint = "its name is too long for a folder: take fewer seeds in a block, or consecutive ones"
        loading.problems.report("is too large", file=loading.source("block"), key="block", value=block, hint=hint)
    return seeds, block


def read_primary(loading: Loading) -> dict[str, str]:
    """The primary metric: its name, protocol and direction."""

    def one_of(key: str, value: Any, allowed: Iterable[str]) -> str:
        if value not in list(allowed):
            raise bad_input("unknown", file=loading.file, key=f"primary.{key}", value=value, allowed=allowed)
        return value

    given = loading.study.primary
    with loading.problems.collect():
        protocol = one_of("protocol", given.protocol, PROTOCOLS)
        metric = one_of("metric", given.metric, PROTOCOLS[protocol].primaries)
        ways = METRICS[metric].directions
        direction = one_of("direction", given.direction or (ways[0] if len(ways) == 1 else None), ways)
        return {"metric": metric, "protocol": protocol, "direction": direction}
    return {}


def read_ids(loading: Loading, given: Any) -> list[str]:
    """Ids in their order, sweeps expanded; each of them, and each ancestor, checked."""
    where, library = loading.source("variants"), loading.library
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names or any(not isinstance(name, str) for name in names):
        loading.problems.report("must be a list of variants", file=where, key="variants", value=given)
        return []
    ids: list[str] = []
    for name in names:
        if name.partition("--")[0] not in library.stems():
            loading.problems.add(library.unknown(name, file=where, key="variants"))
            continue
        with loading.problems.collect():
            for member in [name] if "--" in name else list(library.members(name)):
                if member in ids:
                    raise bad_input("is listed twice", file=where, key="variants", value=member)
                ids.append(member)
                for ancestor in library.chain(member):
                    with loading.problems.collect():
                        library.check(ancestor.id)
    return ids


def read_baseline(loading: Loading, ids: list[str]) -> str:
    """The variant that all others are compared with."""
    if ids and (name := loading.level["baseline"]) not in ids:
        problem, where = "is not among the study's variants", loading.source("baseline")
        loading.problems.report(problem, file=where, key="baseline", value=name, allowed=ids)
    return loading.level["baseline"]


def read_role(loading: Loading, key: str, ids: list[str]) -> str | None:
    """The study's method or control; None where it names none, or the command line left it out."""
    name = getattr(loading.study, key)
    if ids and name not in (None, *ids) and loading.source("variants") == loading.file:
        problem = "is not among the study's variants"
        loading.problems.report(problem, file=loading.file, key=key, value=name, allowed=ids)
    return name if name in ids else None


def check_seeds_for_test(loading: Loading, n_seeds: int, comparisons: int) -> None:
    """Refuse too few seeds for the test that the study's claims rest on, or else make a note."""
    if loading.study.test == "seeds" and n_seeds and comparisons > 0 and not reachable(n_seeds, comparisons):
        needed = seeds_needed(comparisons)
        allowed = f"at least {needed} seeds" if needed else "fewer variants: no number of seeds is enough"
        allowed += f" for {comparisons} comparisons, as test is 'seeds'"
        at = {"file": loading.source("seeds"), "key": "seeds", "value": n_seeds}
        loading.problems.report("are fewer than the exact test over seeds needs", allowed=allowed, **at)
    elif n_seeds and (note := seed_note(n_seeds, max(comparisons, 0))):
        loading.notes.append(note)
