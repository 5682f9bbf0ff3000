"""Is a run current, and what may stand in one table: the code that is here, one protocol, the config of the study."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.results.code import Code
from fne.results.configs import diff
from fne.results.records import peek
from fne.study import paths
from fne.study.api import Study, blocks, digest, evaluation_digest, resolve, training_digest
from fne.study.validate import counted
from fne.utils.errors import bad_input
from fne.utils.files import atomic_files

if TYPE_CHECKING:
    import pandas as pd


def trained_alike(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Do two configs agree in all that training reads?"""
    return training_digest(then) == training_digest(now)


def is_trained(file: Path, config: Mapping[str, Any], code: str) -> bool:
    """Is there a ``run.json``, of a run that this config and this code trained?"""
    run = peek(file)
    return run.get("code") == code and isinstance(run.get("config"), dict) and trained_alike(run["config"], config)


KEPT = "trained"
"""The folder, in that of a job's resumable state, of a finished run that was set aside."""


def set_aside(study: Study, variant: str, block: str, root: Path, sources: Code) -> bool:
    """Keep a finished run of the present config and code while the workflow makes its files anew.

    What started a job may have changed nothing that training reads: another rule makes the same files, or a file of
    relevance came along. The files are linked, so that nothing is copied.
    """
    config, folder = resolve(study, variant), root / paths.run_folder(study, variant, block)
    if not is_trained(folder / "run.json", config, sources.training(config)):
        return False
    kept = root / paths.scratch_folder(study, variant, block) / KEPT
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for name in paths.TRAINED:
        if not (folder / name).is_file():
            shutil.rmtree(kept)
            return False
        _link(folder / name, kept / name)
    return True


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copy(file, target)


def take_back(
    scratch: Path,
    folder: Path,
    config: Mapping[str, Any],
    code: str,
    made_from: Mapping[str, str],
    *,
    keep_state: bool = False,
) -> bool:
    """Put back a run that was set aside, where it is of this config, code and data; otherwise it is kept no longer.

    Args:
        scratch: The job's resumable state.
        folder: Of the run.
        config, code, made_from: What training would read now; the last are fingerprints of data and features.
        keep_state: Leave it set aside as well, so that a job that has more to do finds it when it runs again.
    """
    kept = scratch / KEPT
    current = is_trained(kept / "run.json", config, code) and all((kept / name).is_file() for name in paths.TRAINED)
    current = current and peek(kept / "run.json").get("fingerprints") == dict(made_from)
    if current:
        with atomic_files(folder, last="run.json") as temporary:
            for name in paths.TRAINED:
                _link(kept / name, temporary / name)
                os.utime(temporary / name)  # as if it were made now, for whoever compares times
        print(f"{folder}: of this config, code and data already; not trained again", file=sys.stderr)
    if not (current and keep_state):
        shutil.rmtree(scratch if current else kept, ignore_errors=True)
    return current


def outdated(study: Study, root: Path, sources: Code) -> list[str]:
    """Runs of a study that other code trained, as ``variant/block``: they will be trained again."""
    result = []
    for variant in study.variants:
        config = resolve(study, variant)
        code = sources.training(config)
        for block in blocks(study):
            file = root / paths.run_folder(study, variant, block) / "run.json"
            if file.is_file() and peek(file).get("code") != code:
                result.append(f"{variant}/{block}")
    return result


def stale(
    made: Mapping[str, Any], run: Mapping[str, Any], config: Mapping[str, Any], code: str
) -> tuple[str, str] | None:
    """The first stage that must run again as study and code are now, and why; None where metrics are current.

    Args:
        made: The metrics: ``config`` and ``code`` that they were made under.
        run: The ``run.json`` beside them.
        config: The variant's config now.
        code: The digest of the code that trains its variant now, see :class:`fne.results.code.Code`.
    """
    then = made["config"]
    if not trained_alike(then, config):
        return "train", f"stale: {what_changed(then, config)}"
    if run["code"] != code:
        return "train", f"stale: trained by code {run['code']}, and now there is {code}"
    if made["code"] != run["code"]:
        return "rank", "stale: ranked before the weights beside it were trained"
    if evaluation_digest(then) != evaluation_digest(config):
        return "evaluate", f"stale: evaluation was {then['evaluation']} and is now {config['evaluation']}"
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
            result = sorted(set(group[column].dropna()))
            if len(result) > 1:
                raise bad_input(
                    f"numbers that cannot be compared stand side by side: {key} {name!r} has several {column}s",
                    file=file,
                    key=column,
                    value=", ".join(result),
                    hint="run the variants again under one config and protocol",
                )
    for variant, group in rows.groupby("variant", sort=True):
        digests = set(group["digest"].dropna())
        if variant in study.variants and digests - {now := digest(resolve(study, str(variant)))}:
            raise bad_input(
                f"the numbers of variant {variant!r} are of another config than the study states now",
                file=file,
                key="digest",
                value=", ".join(sorted(digests)),
                allowed=now,
                hint=f"run it again: snakemake --cores all --config study={study.name}; or, if the study was run with "
                "--config KEY=VALUE, state the same here: --set KEY=VALUE, or FNE_STUDY='STUDY --set KEY=VALUE'",
            )


def what_changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first key, of those that training reads, in which two configs differ."""
    for key, (old, new) in diff(counted(then), counted(now)).items():
        if not key.startswith("evaluation."):
            return f"{key} was {old!r} and is now {new!r}"
    return "nothing"
