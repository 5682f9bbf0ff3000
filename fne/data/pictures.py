"""Pictures that lie outside the project: what was verified of them, and are they still those?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fne.data.text_files import say_nearest
from fne.utils.arrays import read_npz
from fne.utils.digests import stamp
from fne.utils.errors import bad_input
from fne.utils.files import atomic_path, sha256_file

NAME = "pictures.npz"
"""In a prepared folder: per picture what distinguishes its file from another, and the SHA-256 of its content."""
AGAIN = "run `fne prepare` again, or bring the pictures back"


def stamps(root: Path, names: Sequence[str | Path]) -> np.ndarray:
    """int64 (n, 4): size, times and inode of each file, -1 where it is missing."""
    rows, place = np.full((len(names), 4), -1, np.int64), str(root)
    for row, name in enumerate(names):
        try:
            rows[row] = stamp(os.path.join(place, name))  # not pathlib, which takes longer than the system does
        except OSError:
            pass
    return rows


def write(file: Path, result: np.ndarray, digests: Sequence[bytes]) -> None:
    """Note what was verified: the stamps, and the digest of each content."""
    with atomic_path(file) as temporary:
        np.savez_compressed(
            temporary, stamps=result, digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
        )


def together(digests: Sequence[bytes]) -> str:
    """Hex SHA-256 over the digests of contents, in order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def require_unchanged(folder: Path, root: Path, names: Sequence[str], expected: str) -> None:
    """Compare the pictures with those that were prepared; only files that are others by their stamp are read.

    Args:
        folder: The prepared folder.
        root: Folder of the pictures.
        names: Theirs.
        expected: Digest of all contents, of the manifest.

    Raises:
        UserError: A picture is missing or has another content, or the notes of :func:`write` are missing or damaged.
    """
    file, now = folder / NAME, stamps(root, names)
    stored = read_npz(file, {"stamps": ("i", 2), "digests": ("u", 2)}, AGAIN)
    then, digests = stored["stamps"], stored["digests"]
    if then.shape != now.shape or hashlib.sha256(digests.tobytes()).hexdigest() != expected:
        raise bad_input("is not of this manifest", file=file, hint=AGAIN)
    others = np.flatnonzero((then != now).any(axis=1))
    for row in others.tolist():
        picture = root / names[row]
        if now[row, 0] < 0:
            hint = say_nearest(picture, AGAIN, cutoff=1.0)
            raise bad_input("a picture is missing that was prepared", file=picture, hint=hint)
        if bytes.fromhex(sha256_file(picture)) != digests[row].tobytes():
            raise bad_input("a picture is another one than was prepared", file=picture, hint=AGAIN)
    if len(others):
        write(file, now, [digest.tobytes() for digest in digests])
