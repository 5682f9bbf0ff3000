"""What a study's numbers were made from and by: versions, code and fingerprints over all its runs, in two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fne.protocols import fingerprint_id
from fne.study.model import KEPT_ONLY
from fne.utils.fields import canonical, flatten

if TYPE_CHECKING:
    from fne.results.study import StudyResults

DATA, FEATURES, CODE, VERSIONS, CONFIG, PROTOCOL = GROUPS = (
    "data", "features", "code", "versions", "config", "protocol",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """What two sets of results do not have in common.

    Args:
        group: One of :data:`GROUPS`.
        name: Of the fingerprint, package, config key or protocol; empty where the group has one alone, or none.
        variants: Those that it is of; empty: of all results.
        values: Of the one and of the other; None where it is not recorded, or, of a config, is not set.
    """

    group: str
    name: str
    variants: tuple[str, ...]
    values: tuple[str | None, str | None]


def versions(study: StudyResults) -> dict[str, str]:
    """Versions of Python and of the packages over all runs, each once."""
    records = [run["record"] for variant in study.variants for run in variant.runs]
    return _each_once({**item.get("packages", {}), **({"python": item["python"]} if "python" in item else {})}
                      for item in records)  # fmt: skip


def fingerprints(study: StudyResults) -> dict[str, str]:
    """Fingerprints of what the runs read, each once."""
    return _each_once(run["fingerprints"] for variant in study.variants for run in variant.runs)


def _each_once(sides: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    result: dict[str, set[str]] = {}
    for side in sides:
        for name, value in side.items():
            result.setdefault(name, set()).add(str(value))
    return {name: ", ".join(sorted(result[name])) for name in sorted(result)}


def code(runs: Iterable[Mapping[str, Any]]) -> str | None:
    """Digests of the code that trained the runs of a variant, each once; None where a run has none."""
    result: set[Any] = {run.get("code") for run in runs}
    return ", ".join(sorted(result)) if result and None not in result else None


def group_of(fingerprint: str) -> str:
    """The group that a fingerprint belongs to."""
    first = fingerprint.partition(".")[0]
    return first if first in (DATA, PROTOCOL) else FEATURES


def differences(
    first: Mapping[str, Any], second: Mapping[str, Any], variants: Iterable[str]
) -> tuple[list[Difference], list[str]]:
    """What differs, or is not recorded, between two bundles, and the groups in which all is equal.

    Args:
        first, second: Their ``bundle.json``.
        variants: Those that are compared.
    """
    sides = [_made_from(facts, variants) for facts in (first, second)]
    result: dict[tuple[str, str, str | None, str | None], list[str]] = {}
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        group, name, variant = key
        a, b = (side.get(key) for side in sides)
        if a is None or a != b:
            result.setdefault((group, name, a, b), []).append(variant)
    recorded = {group for side in sides for group, *_ in side}
    result |= {(group, "", None, None): [""] for group in GROUPS if group not in recorded}
    differ = [Difference(group, name, tuple(filter(None, of)), (a, b)) for (group, name, a, b), of in result.items()]
    equal = [group for group in GROUPS if group not in {item.group for item in differ}]
    return sorted(differ, key=lambda item: GROUPS.index(item.group)), equal


def _made_from(facts: Mapping[str, Any], variants: Iterable[str]) -> dict[tuple[str, str, str], str | None]:
    """Each value by group, name and, where it is of one variant, the variant."""
    result: dict[tuple[str, str, str], str | None] = {}
    result |= {(group_of(name), name, ""): value for name, value in facts["fingerprints"].items()}
    result |= {(VERSIONS, name, ""): value for name, value in facts["packages"].items()}
    result |= {(PROTOCOL, name, ""): fingerprint_id(content) for name, content in facts["protocols"].items()}
    for variant in variants:
        entry = facts["variants"][variant]
        code = entry.get("code")
        result[CODE, "", variant] = None if code is None else str(code)
        for key, value in flatten(entry["config"]).items():
            if value is not None and not key.startswith(KEPT_ONLY):
                result[CONFIG, key, variant] = canonical(value)
    return result
