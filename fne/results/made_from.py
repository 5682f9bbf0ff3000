"""What a study's numbers were made from and by: versions and fingerprints over all its runs."""

from __future__ import annotations

from fne.results.study import StudyResults


def versions(study: StudyResults) -> dict[str, str]:
    """Versions of Python and of the packages over all runs, each once."""
    found: dict[str, set[str]] = {}
    for variant in study.variants:
        for run in variant.runs:
            record = run["record"]
            packages = {
                **record.get("packages", {}),
                **({"python": record["python"]} if "python" in record else {}),
            }
            for name, version in packages.items():
                found.setdefault(name, set()).add(str(version))
    return {name: ", ".join(sorted(found[name])) for name in sorted(found)}


def fingerprints(study: StudyResults) -> dict[str, str]:
    """Fingerprints of what the runs read, each once."""
    found: dict[str, set[str]] = {}
    for variant in study.variants:
        for run in variant.runs:
            for name, value in run["fingerprints"].items():
                found.setdefault(name, set()).add(str(value))
    return {name: ", ".join(sorted(found[name])) for name in sorted(found)}
