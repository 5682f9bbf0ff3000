"""Preparing the embedded world: scenes, captions, pictures and exact truth from one seed."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fne.data.items import Item
from fne.data.manifest import SPLITS
from fne.data.truth import Truth
from fne.data.writing import staging, write_prepared
from fne.scenes.draw import Chooser
from fne.scenes.grammar import say
from fne.scenes.logic import Form, write_forms
from fne.scenes.prevalence import draw_split_forms
from fne.scenes.relevance import relevant_pairs
from fne.scenes.render import render
from fne.scenes.situations import Sampler, draw_situations, quotas
from fne.scenes.world import Scenes, reserved
from fne.utils.arrays import read_npz
from fne.utils.errors import bad_input
from fne.utils.progress import Progress
from fne.utils.seeding import numpy_stream


@dataclass(frozen=True)
class Split:
    """One split of the world: scenes, the situation of each, and a form and a text per caption."""

    scenes: Scenes
    members: np.ndarray
    forms: list[Form]
    texts: list[str]


def build_splits(data: dict[str, Any]) -> dict[str, Split]:
    """Draw the scenes and captions of train, val and test; nothing is written.

    Args:
        data: The ``data`` section of a scenes data set.

    Raises:
        UserError: A split is too small for its prevalence.
    """
    seed = data["seed"]
    situations = draw_situations(Chooser(numpy_stream(seed, "scenes", "situations")))
    taken = np.zeros(0, np.int64)
    splits = {}
    for name in SPLITS:
        members = np.repeat(np.arange(len(situations)), quotas(data[name]))
        members = numpy_stream(seed, "scenes", name, "order").permutation(members)
        sampler = Sampler(situations, Chooser(numpy_stream(seed, "scenes", name, "scenes")))
        scenes = _draw_unique(sampler, members, taken)
        taken = np.concatenate([taken, scenes.keys()])
        choose = Chooser(numpy_stream(seed, "scenes", name, "forms"))
        per_image, target = data["captions_per_image"], data["prevalence"]
        forms = draw_split_forms(scenes, members, situations, per_image, target, choose, name)
        choose = Chooser(numpy_stream(seed, "scenes", name, "texts"))
        splits[name] = Split(scenes, members, forms, [say(form, choose) for form in forms])
    return splits


def _draw_unique(sampler: Sampler, members: np.ndarray, taken: np.ndarray) -> Scenes:
    """Draw a scene for every member; one that repeats, here or among ``taken``, or is reserved is drawn again."""
    scenes = sampler.draw(members)
    while True:
        keys = scenes.keys()
        again = np.ones(len(keys), bool)
        again[np.unique(keys, return_index=True)[1]] = False
        again |= np.isin(keys, taken) | reserved(keys)
        if not again.any():
            return scenes
        redrawn = sampler.draw(members[again])
        scenes.cells[again], scenes.background[again] = redrawn.cells, redrawn.background


def run(data: dict[str, Any], folder: Path) -> None:
    """Write pictures, manifest, exact truth, scenes and logical forms of the embedded world into ``folder``.

    Args:
        data: ``{dataset, seed, train, val, test, captions_per_image, prevalence, image_size}``.
        folder: The prepared data set's folder; its name is the ``data_id``.

    Raises:
        UserError: A split is too small for its prevalence; nothing was written.
    """
    splits = build_splits(data)
    items, per_image = list[Item](), data["captions_per_image"]
    truths, notes = {}, {}
    pixels = hashlib.sha256()
    count = sum(len(split.scenes) for split in splits.values())
    with staging(folder) as temporary, Progress("prepare scenes", count, "pictures") as progress:
        (temporary / "images").mkdir()
        for name, split in splits.items():
            pictures = render(split.scenes, numpy_stream(data["seed"], "scenes", name, "pictures"), data["image_size"])
            pixels.update(pictures.tobytes())
            captions = [split.texts[start : start + per_image] for start in range(0, len(split.texts), per_image)]
            new = [Item(f"{name}-{row:06d}", f"{name}-{row:06d}.png", name, each) for row, each in enumerate(captions)]
            items += new
            # Threads: compressing releases the interpreter lock, and creating a file waits for the disk.
            with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
                for _ in pool.map(_save, (temporary / "images" / one.file for one in new), pictures):
                    progress.add()
            pairs = relevant_pairs(split.scenes, split.forms)
            every_image, every_caption = (np.arange(len(rows), dtype=np.int32) for rows in (pictures, split.texts))
            truths[name] = Truth("exact", pairs, every_image, every_caption)
            notes[name] = {"matches_per_caption": _quantiles(pairs[:, 1], len(split.texts))}
            scenes = split.scenes
            with open(temporary / f"scenes.{name}.npz", "wb") as handle:
                np.savez(handle, cells=scenes.cells, background=scenes.background, situation=split.members)
            write_forms(temporary / f"forms.{name}.json", split.forms)
        write_prepared(temporary, folder, data, "images", items, truths, pixels.hexdigest(), notes)


def _save(path: Path, picture: np.ndarray) -> None:
    # Fast compression: noise does not shrink.
    Image.fromarray(picture).save(path, compress_level=1)


def _quantiles(captions: np.ndarray, n: int) -> dict[str, int]:
    """How many images each caption is true of: median, 90 %, 99 % and most."""
    counts = np.sort(np.bincount(captions, minlength=n))
    shares = {"median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: int(counts[min(n - 1, int(share * n))]) for name, share in shares.items()}


def load_scenes(path: str | Path) -> Scenes:
    """Read a ``scenes.<split>.npz``.

    Raises:
        UserError: The file is missing or damaged.
    """
    hint = "run `fne prepare` first"
    stored = read_npz(path, {"cells": ("u", 2), "background": ("u", 1)}, hint)
    return Scenes(stored["cells"], stored["background"])


def check_unseen(world: Path) -> None:
    """Check that no encoder of `scenes`, of whatever draw, has seen a scene of a prepared world in its pretraining.

    Args:
        world: The folder of prepared data.

    Raises:
        UserError: A split holds a scene that is set aside for pretraining: it was prepared by other code.
    """
    for file in sorted(world.glob("scenes.*.npz")):
        count = int(reserved(load_scenes(file).keys()).sum())
        if count:
            problem = "holds scenes that are set aside for pretraining the encoders"
            hint = "remove the folder, and prepare the data again"
            raise bad_input(problem, file=file, key="scenes", value=count, hint=hint)
