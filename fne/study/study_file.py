"""What a study file states, with what the command line changes: texts, seeds, variants, primary metric, test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fne.protocols import METRICS, PROTOCOLS
from fne.study.library import Library
from fne.study.min_seeds import reachable, seed_note, seeds_needed
from fne.study.model import REGIMES
from fne.study.seeds import block_names, read_block_size, read_seeds
from fne.study.series import Factors
from fne.study.variants import LONGEST, member_title, only_keys, text_of
from fne.utils.errors import bad_input
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

REQUIRED_KEYS = ("title", "question", "regime", "variants", "seeds", "block", "baseline", "primary")
STUDY_KEYS = (*REQUIRED_KEYS, "method", "control", "data", "encoders", "factors", "design", "as_released", "set",
              "tune", "tuned", "test", "published")  # fmt: skip
STUDY_LEVEL = ("variants", "seeds", "block", "baseline")
"""Study keys (beside config keys) that the command line may override."""
TESTS = ("images", "seeds")
"""What the p values of a study's family are about: other test images, or training again."""
COMMAND_LINE = "command line"


class Stated:
    """One study file as it is loaded once. Problems of independent parts are collected; what builds on them waits.

    Args:
        name: Of the study: the file's stem, or the id of a member of a study with factors.
        file: The file.
        library: Base and variants.
        overrides: What the command line set.
        factors: What the file varies, or None.
        tuned: Whether tuned values are laid.
    """

    def __init__(
        self,
        name: str,
        file: Path,
        library: Library,
        overrides: Mapping[str, Any],
        factors: Factors | None,
        tuned: bool,
    ) -> None:
        self.name, self.file, self.library, self.lay_tuned = name, file, library, tuned
        members = factors.members if factors else {name: {}}
        self.point, self.points = members[name], tuple(members.values())
        self.problems, self.notes = Problems(), []
        self.content = read_mapping(file)
        self.level = {key: overrides.get(key, self.content.get(key)) for key in STUDY_LEVEL}
        self.given = {key for key in STUDY_LEVEL if key in overrides}
        self.overrides = {key: value for key, value in overrides.items() if key not in STUDY_LEVEL}

    def stop(self) -> None:
        """Raise what was collected so far, if anything."""
        self.problems.raise_any(f"study {self.name!r}")

    def check_keys(self) -> None:
        """Collect unknown and missing keys."""
        with self.problems.collect():
            only_keys(self.content, STUDY_KEYS, self.file)
        for key in REQUIRED_KEYS:
            if key not in self.content:
                self.problems.report("is missing", file=self.file, key=key)

    def source(self, key: str) -> str | Path:
        """Where the value of a study-level key stands."""
        return self.file if self.level[key] == self.content.get(key) else COMMAND_LINE

    def section(self, key: str) -> dict[str, Any]:
        """A section of the file, empty where there is none."""
        section = self.content.get(key)
        if section is not None and not isinstance(section, dict):
            raise bad_input("must be a mapping", file=self.file, key=key, value=section)
        return section or {}

    def given_levels(self) -> dict[str, Any]:
        """Study-level values that the command line gives, lists as text."""
        return {
            key: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            for key, value in self.level.items()
            if key in self.given
        }


def read_texts(stated: Stated) -> dict[str, str]:
    """Title, question and regime."""
    texts = {}
    for key in ("title", "question", "regime"):
        with stated.problems.collect():
            texts[key] = text_of(stated.content, key, stated.file)
    texts["title"] = member_title(texts.get("title", ""), stated.point)
    regime = texts.get("regime")
    if regime and regime not in REGIMES:
        stated.problems.report("unknown", file=stated.file, key="regime", value=regime, allowed=REGIMES)
    return texts


def read_seeds_and_block(stated: Stated) -> tuple[tuple[int, ...], int]:
    """The seeds, and how many of them train together."""
    seeds, block = (), 1
    with stated.problems.collect():
        seeds = read_seeds(stated.level["seeds"], stated.source("seeds"))
    with stated.problems.collect():
        block = read_block_size(stated.level["block"], stated.source("block"))
    if (longest := max(block_names(seeds, block), key=len, default="")) and len(longest) > LONGEST:
        problem = f"the name of a block would be {len(longest)} characters long, too long for a folder"
        hint = "take fewer seeds in a block, or consecutive ones"
        stated.problems.report(problem, file=stated.source("block"), key="block", value=block, hint=hint)
    return seeds, block


def read_primary(stated: Stated) -> dict[str, str]:
    """The primary metric: its name, protocol and direction."""
    file, given = stated.file, stated.content["primary"]
    if not isinstance(given, dict):
        allowed = "a mapping such as {metric: rsum, protocol: own}"
        stated.problems.report("must be a mapping", file=file, key="primary", value=given, allowed=allowed)
        return {}

    def one_of(key: str, value: Any, allowed: Iterable[str]) -> str:
        if value not in list(allowed):
            raise bad_input("unknown", file=file, key=f"primary.{key}", value=value, allowed=allowed)
        return value

    with stated.problems.collect():
        only_keys(given, ("metric", "protocol", "direction"), file, "primary.")
        protocol = one_of("protocol", given.get("protocol"), PROTOCOLS)
        metric = one_of("metric", given.get("metric"), PROTOCOLS[protocol].primaries)
        ways = METRICS[metric].directions
        direction = one_of("direction", given.get("direction", ways[0] if len(ways) == 1 else None), ways)
        return {"metric": metric, "protocol": protocol, "direction": direction}
    return {}


def read_ids(stated: Stated, given: Any) -> list[str]:
    """Ids in their order, sweeps expanded; each of them, and each ancestor, checked."""
    where = stated.source("variants")
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names or any(not isinstance(name, str) for name in names):
        stated.problems.report("must be a list of variants", file=where, key="variants", value=given)
        return []
    ids: list[str] = []
    for name in names:
        if name.partition("--")[0] not in stated.library.stems():
            stated.problems.add(stated.library.unknown(name, file=where, key="variants"))
            continue
        with stated.problems.collect():
            for member in [name] if "--" in name else list(stated.library.members(name)):
                if member in ids:
                    raise bad_input("is listed twice", file=where, key="variants", value=member)
                ids.append(member)
                for ancestor in stated.library.chain(member):
                    with stated.problems.collect():
                        stated.library.check(ancestor.id)
    return ids


def read_baseline(stated: Stated, ids: list[str]) -> Any:
    """The variant that the others are compared with."""
    baseline = stated.level["baseline"]
    if ids and baseline not in ids:
        at = {"file": stated.source("baseline"), "key": "baseline", "value": baseline}
        stated.problems.report("is not among the study's variants", allowed=ids, **at)
    return baseline


def read_named(stated: Stated, key: str, ids: list[str]) -> str | None:
    """The study's ``method`` or ``control``; None where it names none, or the command line left it out."""
    name = stated.content.get(key)
    if name is None or name in ids:
        return name
    if stated.level["variants"] == stated.content["variants"]:
        problem = "is not among the study's variants"
        stated.problems.report(problem, file=stated.file, key=key, value=name, allowed=ids)
    return None


def read_test(stated: Stated, n_seeds: int, comparisons: int) -> str:
    """The test that the study's claims rest on. Too few seeds for it are refused, or else a note."""
    test = stated.content.get("test", TESTS[0])
    if test not in TESTS:
        stated.problems.report("unknown", file=stated.file, key="test", value=test, allowed=TESTS)
    elif test == "seeds" and n_seeds and comparisons > 0 and not reachable(n_seeds, comparisons):
        at = {"file": stated.source("seeds"), "key": "seeds", "value": n_seeds}
        needed = seeds_needed(comparisons)
        allowed = f"at least {needed} seeds" if needed else "fewer variants: no number of seeds is enough"
        allowed += f" for {comparisons} comparisons, as test is 'seeds'"
        stated.problems.report("are fewer than the exact test over seeds needs", allowed=allowed, **at)
    elif n_seeds and (note := seed_note(n_seeds, max(comparisons, 0))):
        stated.notes.append(note)
    return test
