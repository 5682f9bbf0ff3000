"""``fne fetch``: download what may be downloaded of a corpus, check it, unpack it, and say what is left to do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fne.data.archive import unpack
from fne.data.download import check_space, download
from fne.data.sources import SOURCES, Archive
from fne.utils.errors import bad_input
from fne.utils.files import sha256_file, write_text

SUMS = "SHA256SUMS"


def run(dataset: str, folder: Path, only: str | None = None) -> str:
    """Fetch a corpus into ``folder``; what is there already stays, and what was interrupted is continued.

    Args:
        dataset: A name in :data:`fne.data.sources.SOURCES`.
        folder: Gets ``dataset_<name>.json``, ``images/`` where they may be downloaded, and the archives in
            ``downloads/``.
        only: ``annotations`` or ``images``; None for both.

    Returns:
        What to do next, for the user.

    Raises:
        UserError: Something cannot be downloaded, or is not what it should be.
    """
    source = SOURCES[dataset]
    pictures = [item for item in source.archives if item.target.startswith("images/")]
    if only == "images" and not pictures:
        raise bad_input("its images may not be downloaded", key=dataset, hint=source.pictures)
    chosen = [item for item in source.archives if only in (None, "images" if item in pictures else "annotations")]
    missing = [item for item in chosen if not (folder / item.target).exists()]
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    # Pictures hardly compress: an archive needs its own size once more when it is unpacked.
    needed = sum(item.size * (1 if (downloads / item.name).exists() else 2) for item in missing)
    check_space(folder, needed - _partial(downloads, missing), f"{dataset} and its archives")
    for archive in missing:
        place = downloads / archive.name
        if not place.exists():
            download(archive.url, place, size=archive.size)
        verify(place, archive)
        unpack(place, archive.member, folder / archive.target)
    return _next(dataset, folder)


def _partial(downloads: Path, archives: list[Archive]) -> int:
    parts = [downloads / f"{item.name}.part" for item in archives]
    return sum(part.stat().st_size for part in parts if part.exists())


def verify(place: Path, archive: Archive) -> None:
    """Compare an archive with the SHA-256 that is known, and with the one recorded when it was first used.

    Raises:
        UserError: It has another one.
    """
    print(f"verify {place.name}", file=sys.stderr, flush=True)
    result, record = sha256_file(place), place.with_name(SUMS)
    recorded = recorded_sums(record)
    for expected, whose in ((archive.sha256, "known"), (recorded.get(place.name, result), f"recorded in {record}")):
        if result != expected:
            hint = f"it is damaged or was replaced: remove it and fetch it again ({archive.url})"
            raise bad_input(f"another SHA-256 than the one {whose}", file=place, value=result, allowed=[expected],
                            hint=hint)  # fmt: skip
    write_text(record, "".join(f"{sha}  {name}\n" for name, sha in sorted((recorded | {place.name: result}).items())))


def recorded_sums(record: Path) -> dict[str, str]:
    """Name -> SHA-256 of a file as ``sha256sum`` writes it; empty where there is none.

    Raises:
        UserError: A line is not of that form.
    """
    if not record.exists():
        return {}
    sums = {}
    for number, line in enumerate(record.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](\S.*)", line)
        if not match:
            raise bad_input("not a line of sha256sum", file=record, key=f"line {number}", value=line[:80])
        sums[match[2]] = match[1]
    return sums


def _next(dataset: str, folder: Path) -> str:
    annotations, images = folder / f"dataset_{dataset}.json", folder / "images"
    lines = [f"annotations={annotations}" if annotations.exists() else "annotations: missing"]
    if images.is_dir():
        lines.append(f"images={images}")
    else:
        lines.append(f"images: {SOURCES[dataset].pictures}; then give images=FOLDER")
    return "\n".join(lines)
