"""Checking image files: all there, all readable, all decodable, before anything is written."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from fne.errors import UserError, bad_input
from fne.progress import Progress

NAMED = 5
"""How many offending files a message names."""


def verify_images(root: Path, files: Sequence[str]) -> str:
    """Decode every image file completely.

    Args:
        root: Folder of the images.
        files: Paths relative to ``root``.

    Returns:
        Hex SHA-256 over the files' own digests, in order.

    Raises:
        UserError: The folder cannot be read, files are missing, or some do not decode; says how many and
            which first.
    """
    if not root.is_dir():
        raise bad_input("no such folder of images", file=root, key="data.images")
    if not os.access(root, os.R_OK | os.X_OK):
        raise bad_input("no permission to read the folder of images", file=root, key="data.images")
    _refuse(root, "missing", [file for file in files if not (root / file).is_file()], len(files))
    digest, broken = hashlib.sha256(), []
    progress = Progress("verify images", len(files), "images")
    # Decoding releases the interpreter lock, so threads use all cores.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for file, (checksum, problem) in zip(
            files, pool.map(_decode, (root / file for file in files)), strict=True
        ):
            digest.update(checksum)
            if problem:
                broken.append(f"{file} ({problem})")
            progress.add()
    progress.close()
    _refuse(root, "unreadable or cut short", broken, len(files))
    return digest.hexdigest()


def _decode(path: Path) -> tuple[bytes, str]:
    """Digest of the bytes and what is wrong with the picture (empty: nothing)."""
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        return b"", " ".join(str(error).split()) or type(error).__name__
    return hashlib.sha256(content).digest(), ""


def _refuse(root: Path, what: str, files: list[str], total: int) -> None:
    if files:
        more = ", ..." if len(files) > NAMED else ""
        raise _error(root, f"{len(files)} of {total} images are {what}: {', '.join(files[:NAMED])}{more}")


def _error(root: Path, problem: str) -> UserError:
    return bad_input(problem, file=root, key="data.images")
