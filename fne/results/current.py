"""Is a run current, and what may stand in one table: one version of training, one protocol, the config of the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.study.api import Study, diff, digest, evaluation_digest, resolve, training_digest
from fne.study.schema import PATH_KEYS
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import pandas as pd


def trained_alike(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Do two configs agree in all that training reads?"""
    return training_digest(then) == training_digest(now)


def stale(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first stage that must run again as a study's config is now, and why; None where a run is current."""
    if not trained_alike(then, now):
        return "train", f"stale: {what_changed(then, now)}"
    if evaluation_digest(then) != evaluation_digest(now):
        return "evaluate", f"stale: evaluation was {then['evaluation']} and is now {now['evaluation']}"
    return None


def require_current(file: Path, config: Mapping[str, Any], trained: str, hint: str) -> None:
    """Refuse a file that was made from weights of another config than those beside it now.

    Args:
        file: The file.
        config: What it was made under.
        trained: The digest of what training reads, of the runs that stand there now.
        hint: How to make it again.

    Raises:
        UserError: It was.
    """
    if training_digest(config) != trained:
        raise bad_input("made from runs of another config than those beside it", file=file, hint=hint)


def check_one_protocol(runs: Iterable[tuple[Path, dict[str, Any]]]) -> None:
    """Check that all runs were trained under one version of the training protocol (``fne.PROTOCOL``).

    Args:
        runs: Folder and ``run.json`` of each.

    Raises:
        UserError: They were not; the message names one folder of each version.
    """
    versions: dict[Any, Path] = {}
    for folder, run in runs:
        versions.setdefault(run["protocol_version"], folder)
    if len(versions) > 1:
        (version, folder), *others = sorted(versions.items(), key=lambda item: str(item[0]))
        raise bad_input(
            "runs of several protocol versions stand side by side: "
            + ", ".join(f"{one} in {place}" for one, place in [(version, folder), *others]),
            file=folder.parent.parent,
            key="protocol_version",
            hint="train the older ones again with this version",
        )


def check_comparable(rows: pd.DataFrame, study: Study, file: Path) -> None:
    """Check that measured numbers belong together and to the study as it is stated now.

    Args:
        rows: Of ``runs.csv``, on one split.
        study: The study; rows of other variants are passed over.
        file: Where the rows stand.

    Raises:
        UserError: Two fingerprints of one protocol, two configs of one variant or two regimes are mixed, or the
            numbers of a variant are of another config than the study states.
    """
    for key, column in (("protocol", "fingerprint"), ("variant", "digest"), ("study", "regime")):
        for name, group in rows.groupby(key, sort=True):
            found = sorted(set(group[column].dropna()))
            if len(found) > 1:
                raise bad_input(
                    f"numbers that cannot be compared stand side by side: {key} {name!r} has several {column}s",
                    file=file,
                    key=column,
                    value=", ".join(found),
                    hint="run the variants again under one config and protocol",
                )
    for variant, group in rows.groupby("variant", sort=True):
        found = set(group["digest"].dropna())
        if variant in study.variants and found - {now := digest(resolve(study, str(variant)))}:
            raise bad_input(
                f"the numbers of variant {variant!r} are of another config than the study states now",
                file=file,
                key="digest",
                value=", ".join(sorted(found)),
                allowed=now,
                hint=f"run it again: snakemake --cores all --config study={study.name}; or, if the study was run with "
                "--config KEY=VALUE, state the same here: --set KEY=VALUE, or FNE_STUDY='STUDY --set KEY=VALUE'",
            )


def what_changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first key, of those that training reads, in which two configs differ."""
    for key, (old, new) in diff(then, now).items():
        moved = key.endswith(".checkpoint") and old and new and Path(old).name == Path(new).name
        if not key.startswith("evaluation.") and key not in PATH_KEYS and not moved:
            return f"{key} was {old!r} and is now {new!r}"
    return "nothing"
