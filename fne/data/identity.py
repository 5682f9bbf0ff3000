"""Which corpus it is: the contents of its annotations, the names and sizes of its pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fne.data import pictures
from fne.data.sources import annotation_files
from fne.data.text_files import say_nearest
from fne.utils.digests import FOLDER, Remembered, stamp
from fne.utils.errors import bad_input
from fne.utils.files import expanded, sha256_text


def corpus_digest(data: Mapping[str, Any], root: Path) -> str:
    """Hex SHA-256 over the contents of annotations and of human judgements, and over name and size of each picture.

    Args:
        data: The ``data`` section.
        root: The project's folder, in which digests are remembered.

    Raises:
        UserError: Annotations are not given, or cannot be read.
    """
    if not data.get("annotations"):
        raise bad_input("not given", key="data.annotations", hint="set it, e.g. `--set data.annotations=PATH`")
    remembered = Remembered(root / FOLDER / "files.json")
    files = _readable(files_of(data))
    lines = [remembered.get(file) for file in files]
    remembered.save()
    if data.get("images"):
        names = _summary(data, root)["files"]
        sizes = pictures.stamps(expanded(data["images"]), names)[:, 0].tolist()
        lines += [f"{size} {name}" for size, name in zip(sizes, names, strict=True)]
    return sha256_text("\n".join(lines))


def files_of(data: Mapping[str, Any]) -> list[Path]:
    """The files of annotations, those of a folder in order of name, then those of human judgements."""
    places = annotation_files(data["annotations"])
    files = [[*sorted(filter(Path.is_file, place.rglob("*")))] if place.is_dir() else [place] for place in places]
    annotated = [expanded(file) for _, file in sorted((data.get("judgements") or {}).items()) if file]
    return [*(file for some in files for file in some), *annotated]


def require_matched(
    data: Mapping[str, Any], relevance: Mapping[str, str], ratings: str | None, files: list[Path], root: Path
) -> None:
    """As :func:`fne.data.readers.require_matched`; remembered, as reading a large file takes seconds.

    Args:
        data, relevance, ratings: As there.
        files: The files of relevance and ratings.
        root: The project's folder, in which it is remembered that they match.
    """

    def matched(_: Path) -> bool:
        from fne.data import readers

        readers.require_matched(data, relevance, ratings)
        return True

    _remembered("matched", data, root, files, matched)


def _readable(files: list[Path]) -> list[Path]:
    for file in files:
        if not os.access(file, os.R_OK):
            problem = "no such file, or no permission to read it"
            raise bad_input(problem, file=file, key="data", hint=say_nearest(file))
    return files


def training_pairs(data: Mapping[str, Any], root: Path) -> dict[str, int]:
    """How many pairs an epoch over the training split has, by its unit: ``images`` or ``captions``.

    Args:
        data: The ``data`` section; of the embedded world what it is to hold.
        root: The project's folder, in which it is remembered.

    Raises:
        UserError: Annotations are not given, or cannot be read.
    """
    if data["dataset"] == "scenes":
        return {"images": data["train"], "captions": data["train"] * data["captions_per_image"]}
    return _summary(data, root)["pairs"]


def _summary(data: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """What is needed of annotations at every start, ``files`` and the ``pairs`` of an epoch.

    It is remembered, as reading a large file takes seconds. Images within the annotations have no files.
    """

    def summarise(_: Path) -> dict[str, Any]:
        from fne.data.readers import read_annotations

        items, inside = read_annotations(expanded(data["annotations"]), data["dataset"])
        captions = [len(item.captions) for item in items if item.split == "train"]
        pairs = {"images": len(captions), "captions": sum(captions)}
        return {"files": [] if inside else [item.file for item in items], "pairs": pairs}

    return _remembered("annotations", data, root, [], summarise)


def _remembered(name: str, data: Mapping[str, Any], root: Path, more: list[Path], make: Callable[[Path], Any]) -> Any:
    """What is made of a corpus and of ``more`` files: made again only when one of the files is another one."""
    files = _readable([*files_of(data), *more])
    key = sha256_text("\n".join([data["dataset"], *(str(file.absolute()) for file in files)]))[:12]
    remembered = Remembered(root / FOLDER / f"{name}-{key}.json", made_by=str([stamp(file) for file in files]))
    result = remembered.get(files[0], make)
    remembered.save()
    return result
