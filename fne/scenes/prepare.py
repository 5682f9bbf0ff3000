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

from fne.data.manifest import SPLITS
from fne.data.truth import Truth
from fne.data.writing import Corpus, staging, write_prepared
from fne.scenes.draw import Chooser
from fne.scenes.grammar import say
from fne.scenes.logic import Form, write_forms
from fne.scenes.prevalence import MAX_PREVALENCE, draw_split_forms
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
        UserError: A value cannot be used.
    """
    check_section(data)
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
        forms = draw_split_forms(
            scenes,
            members,
            situations,
            data["captions_per_image"],
            data["prevalence"],
            Chooser(numpy_stream(seed, "scenes", name, "forms")),
            name,
        )
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
        UserError: A value cannot be used; nothing was written.
    """
    splits = build_splits(data)
    per_image = data["captions_per_image"]
    ids, files, names, truths, notes = [], [], [], {}, {}
    pixels = hashlib.sha256()
    count = sum(len(split.scenes) for split in splits.values())
    with staging(folder) as temporary, Progress("prepare scenes", count, "pictures") as progress:
        (temporary / "images").mkdir()
        for name, split in splits.items():
            pictures = render(split.scenes, numpy_stream(data["seed"], "scenes", name, "pictures"), data["image_size"])
            new = [f"{name}-{index:06d}" for index in range(len(pictures))]
            ids += new
            files += [f"{one}.png" for one in new]
            pixels.update(pictures.tobytes())
            paths = [temporary / "images" / f"{one}.png" for one in new]
            # Threads: compressing releases the interpreter lock, and creating a file waits for the disk.
            with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
                for _ in pool.map(_save, paths, pictures):
                    progress.add()
            names += [name] * len(pictures)
            pairs = relevant_pairs(split.scenes, split.forms)
            everything = (
                np.arange(len(split.scenes), dtype=np.int32),
                np.arange(len(split.texts), dtype=np.int32),
            )
            truths[name] = Truth("exact", pairs, *everything)
            notes[name] = {"matches_per_caption": _quantiles(pairs[:, 1], len(split.texts))}
            with open(temporary / f"scenes.{name}.npz", "wb") as handle:
                np.savez(
                    handle,
                    cells=split.scenes.cells,
                    background=split.scenes.background,
                    situation=split.members,
                )
            write_forms(temporary / f"forms.{name}.json", split.forms)
        rows = list(range(len(ids)))
        corpus = Corpus(
            ids,
            files,
            names,
            [f"{ids[row]}#{number}" for row in rows for number in range(per_image)],
            [row for row in rows for _ in range(per_image)],
            [text for split in splits.values() for text in split.texts],
        )
        write_prepared(temporary, folder, data, "images", corpus, truths, pixels.hexdigest(), notes)


def _save(path: Path, picture: np.ndarray) -> None:
    # Fast compression: noise does not shrink.
    Image.fromarray(picture).save(path, compress_level=1)


def _quantiles(captions: np.ndarray, n: int) -> dict[str, int]:
    """How many images each caption is true of: median, 90 %, 99 % and most."""
    counts = np.sort(np.bincount(captions, minlength=n))
    return {
        name: int(counts[min(n - 1, int(q * n))])
        for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    }


def load_scenes(path: str | Path) -> Scenes:
    """Read a ``scenes.<split>.npz``.

    Raises:
        UserError: The file is missing or damaged.
    """
    hint = "run `fne prepare` first"
    stored = read_npz(path, {"cells": ("u", 2), "background": ("u", 1)}, hint)
    return Scenes(stored["cells"], stored["background"])


def check_section(data: dict[str, Any]) -> None:
    """Refuse values of the ``data`` section that make no world.

    Raises:
        UserError: Naming the key, the value and what is allowed.
    """
    least = {
        "seed": 0,
        "train": 2,
        "val": 2,
        "test": 2,
        "captions_per_image": 1,
        "image_size": 24,
    }
    for key, low in least.items():
        value = data.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise bad_input("not usable", key=f"data.{key}", value=value, allowed=f"whole numbers from {low}")
    value = data.get("prevalence")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_PREVALENCE:
        raise bad_input("not usable", key="data.prevalence", value=value, allowed=f"0 to {MAX_PREVALENCE}")
    if data["image_size"] % 3:
        raise bad_input(
            "not a size scenes can be drawn at",
            key="data.image_size",
            value=data["image_size"],
            allowed="multiples of 3 from 24",
        )


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
            raise bad_input(problem, file=file, key="scenes", value=count, allowed=[0], hint=hint)
