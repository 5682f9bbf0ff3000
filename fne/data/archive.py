"""Unpacking one file or folder of a zip file whose SHA-256 is known, and nothing half-way."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from fne.data.download import check_space
from fne.utils.files import atomic_folder, atomic_path
from fne.utils.progress import Progress


def unpack(archive: Path, member: str, target: Path) -> None:
    """Unpack one file or one folder of a zip file; ``target`` appears when it is complete.

    Args:
        archive: The zip file; whoever calls has compared its SHA-256, so that its names and sizes need no check.
        member: Name of the file or folder within it.
        target: Where it goes; must not exist.

    Raises:
        UserError: The disk is too small; nothing was written.
    """
    with zipfile.ZipFile(archive) as opened:
        files = [
            item for item in opened.infolist() if f"{item.filename}/".startswith(f"{member}/") and not item.is_dir()
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        check_space(target.parent, sum(item.file_size for item in files), f"what {archive.name} holds")
        new = atomic_path if member in opened.namelist() else atomic_folder
        with new(target) as place, Progress(f"unpack {archive.name}", len(files), "files") as progress:
            for item in files:
                file = place / item.filename[len(member) + 1 :]  # place itself where the member is a file
                file.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(item) as source, open(file, "wb") as handle:
                    shutil.copyfileobj(source, handle, 1 << 20)
                progress.add()
