"""Checking image files: all there, all readable, all decodable, before anything is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fne.data.decoding import Undecodable, decode
from fne.data.items import NAMED
from fne.data.text_files import say_nearest
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

T = TypeVar("T")
WAITING = 1024


def verify_images(root: Path, files: Sequence[str], where: str | None = None) -> list[bytes]:
    """Decode every image file completely.

    Args:
        root: Folder of the images.
        files: Paths relative to ``root``.
        where: Where the images are obtained, for the message about missing ones.

    Returns:
        The SHA-256 of each file's content.

    Raises:
        UserError: The folder cannot be read, files are missing, or some do not decode; says how many and
            which first.
    """
    if not root.is_dir():
        raise bad_input("no such folder of images", file=root, key="data.images")
    digests, broken = [], []
    # Decoding releases the interpreter lock, so threads use all cores.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        there = _each(pool, Path.is_file, root, files)
        missing = [file for file, result in zip(files, there, strict=True) if not result]
        if missing:
            hint = _elsewhere(root, missing[0]) or say_nearest(root / missing[0], where, cutoff=1.0)
            _refuse(root, "missing", missing, len(files), hint)
        decoded = _each(pool, _decode, root, files)
        with Progress("verify images", len(files), "images") as progress:
            for file, (checksum, problem) in zip(files, decoded, strict=True):
                digests.append(checksum)
                if problem:
                    broken.append(f"{file} ({problem})")
                progress.add()
    _refuse(root, "unreadable or cut short", broken, len(files))
    return digests


def _each(pool: Executor, act: Callable[[Path], T], root: Path, files: Sequence[str]) -> Iterator[T]:
    """What threads make of each file, in order; few wait at once, as each that waits takes memory."""
    for at in range(0, len(files), WAITING):
        yield from pool.map(act, (root / file for file in files[at : at + WAITING]))


def _decode(path: Path) -> tuple[bytes, str]:
    """Digest of the bytes and what is wrong with the picture (empty: nothing)."""
    try:
        content = path.read_bytes()
        decode(content)
    except (Undecodable, OSError) as error:
        return b"", str(error)
    return hashlib.sha256(content).digest(), ""


def _refuse(root: Path, what: str, files: list[str], total: int, hint: str | None = None) -> None:
    if files:
        more = ", ..." if len(files) > NAMED else ""
        problem = f"{len(files)} of {total} images are {what}: {', '.join(files[:NAMED])}{more}"
        raise bad_input(problem, file=root, key="data.images", hint=hint)


def _elsewhere(root: Path, file: str) -> str | None:
    """Say that another folder was meant, where the file lies one level above or below."""
    folders = [root.parent, *sorted(place for place in root.iterdir() if place.is_dir())]
    meant = next((folder for folder in folders if (folder / file).is_file()), None)
    return f"the first one lies in {meant}: give data.images={meant}" if meant else None
