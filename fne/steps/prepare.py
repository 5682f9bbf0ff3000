"""``fne prepare``: from a data section to a prepared folder with manifest and ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

SCENES = ("dataset", "seed", "train", "val", "test", "captions_per_image", "prevalence", "image_size")
CORPUS = ("dataset", "annotations", "images", "judgements", "counts")


def run(data: dict[str, Any], folder: str | Path) -> None:
    """Prepare a data set: check everything, then write manifest, truth and (scenes) pictures into ``folder``.

    Args:
        data: The resolved ``data`` section; ``dataset: scenes`` is drawn, any other name is read as a
            corpus from ``annotations`` and ``images``.
        folder: ``resources/<data_id>``; its name becomes the manifest's ``data_id``. Other entries of it
            stay.

    Raises:
        UserError: Something in the section or in the corpus cannot be used; nothing was written.
    """
    scenes = data.get("dataset") == "scenes"
    keys = SCENES if scenes else CORPUS
    for key in data:
        if key not in keys:
            raise bad_input("unknown key", key=f"data.{key}", value=key, allowed=keys)
    for key in keys:
        if key not in data:
            raise bad_input("missing", key=f"data.{key}")
    if scenes:
        from fne.scenes import prepare

        prepare.run(data, Path(folder))
    else:
        from fne.data import readers

        readers.run(data, Path(folder))
