"""The training jobs of a study that have ended under its present config, and the picks that they kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.results.code import Code
from fne.results.current import trained_alike
from fne.results.records import read_run
from fne.study import paths
from fne.study.api import Study, blocks, resolve
from fne.training import picks
from fne.utils.arrays import check_npz

if TYPE_CHECKING:
    import pandas as pd

ANCHOR = ("seed", "step", "direction", "anchor")
"""What makes two picks picks for the same anchor: variants are paired by seed, so they see the same batches."""


def finished(study: Study, root: Path, variant: str, sources: Code) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and ``run.json`` of every block of a variant that was trained with the code ``sources``.

    Runs of another config or of other code are stale: ``missing.csv`` says so, and nothing of theirs is shown.

    Raises:
        UserError: A ``run.json`` is damaged or of another schema.
    """
    config, result = resolve(study, variant), []
    code = sources.training(config)
    for block in blocks(study):
        folder = root / paths.run_folder(study, variant, block)
        run = read_run(folder / "run.json") if (folder / "run.json").is_file() else None
        if run is not None and trained_alike(run["config"], config) and run["code"] == code:
            result.append((folder, run))
    return result


def picks_of(folders: list[Path] | tuple[Path, ...]) -> pd.DataFrame:
    """The picks of some blocks, one after the other; empty where there is none.

    ``false_negative`` is missing (``pandas.NA``) where it is not known.

    Raises:
        UserError: A file of picks is missing or damaged.
    """
    import pandas as pd

    for folder in folders:
        check_npz(folder / "picks.npz", "delete its folder and train this variant again")
    frames = [pd.DataFrame(picks.read(folder / "picks.npz")) for folder in folders]
    if not frames:
        return pd.DataFrame()
    every = pd.concat(frames, ignore_index=True)
    truth = every["false_negative"].astype("Int8")
    return every.assign(false_negative=truth.mask(truth < 0))
