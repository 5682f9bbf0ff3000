"""Unpacking a zip file that nobody vouches for: every name and size is checked before anything is written."""

from __future__ import annotations

import os
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from fne.data.download import check_space, is_web_page, web_page
from fne.utils.errors import bad_input
from fne.utils.files import atomic_folder, atomic_path
from fne.utils.progress import Progress

MAX_RATIO = 100
"""Bytes out per byte in, of the whole and of each file above :data:`SMALL`. Pictures have 1, captions about 6."""
SMALL = 1 << 20
MAX_FILES = 1_000_000
LONGEST = 255
"""Bytes of a name with its folders; what file systems take of one part."""
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unpack(archive: Path, member: str, target: Path) -> None:
    """Unpack one file or one folder of a zip file; ``target`` appears when it is complete.

    Args:
        archive: The zip file.
        member: Name of the file or folder within it.
        target: Where it goes; must not exist.

    Raises:
        UserError: The archive is a web page, corrupted or hostile, does not hold ``member``, or the disk is too
            small; nothing was written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if not all(0 <= one.header_offset < archive.stat().st_size for one in members):
                raise zipfile.BadZipFile("a file lies outside it")
            check_members(archive, members)
            files = [one for one in members if not one.is_dir()]
            single = next((one for one in files if one.filename == member), None)
            wanted = [single] if single else [one for one in files if one.filename.startswith(f"{member}/")]
            if not wanted:
                tops = sorted({one.filename.partition("/")[0] for one in files})
                raise bad_input("is not in the archive", file=archive, value=member, allowed=tops[:10])
            target.parent.mkdir(parents=True, exist_ok=True)
            check_space(target.parent, sum(one.file_size for one in wanted), f"what {archive.name} holds")
            with Progress(f"unpack {archive.name}", len(wanted), "files") as progress:
                if single:
                    with atomic_path(target) as place:
                        _write(opened, single, place)
                else:
                    with atomic_folder(target) as place:
                        for one in wanted:
                            _write(opened, one, _inside(place, one.filename[len(member) + 1 :]))
                            progress.add()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        if is_web_page(archive):
            raise web_page(archive) from None
        hint = "it is cut short or damaged: remove it and fetch it again"
        problem = f"not a sound zip archive ({str(error) or type(error).__name__})"
        raise bad_input(problem, file=archive, hint=hint) from None


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    # zipfile itself stops at the size that was checked, and compares the CRC at the end.
    with opened.open(member) as source, open(place, "wb") as handle:
        shutil.copyfileobj(source, handle, 1 << 20)


def _inside(folder: Path, name: str) -> Path:
    """Where a checked name lies in a folder; the last word, whatever this system makes of the name."""
    place = Path(os.path.abspath(folder.joinpath(*name.split("/"))))
    if not place.is_relative_to(os.path.abspath(folder)):
        raise ValueError(f"{name!r} leads out of its place")
    return place


def check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that could write outside its place or fill the disk, whatever of it is wanted.

    Raises:
        UserError: A name leads elsewhere on some system, or means the file of another name; a member is a link, a
            device, encrypted or packed in a rare way; or there is far more in it than its size tells.
    """
    size = archive.stat().st_size
    total = 0
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    if len(members) > MAX_FILES:
        raise bad_input("a hostile archive: too many files", file=archive, value=len(members))
    for member in members:
        for problem, found in PROBLEMS.items():
            if found(member):
                raise bad_input(f"a hostile archive: {problem}", file=archive, value=member.orig_filename)
        key = _key(member.filename)
        if key in files or key in folders:
            raise bad_input("a hostile archive: a name occurs twice", file=archive, value=member.filename)
        (folders if member.is_dir() else files).add(key)
        total += member.file_size
        if total > max(MAX_RATIO * size, SMALL):
            problem = f"a hostile archive: more than {MAX_RATIO} times its own size is in it"
            raise bad_input(problem, file=archive, value=member.filename)
    for key in files | folders:
        inside = next((key[:depth] for depth in range(1, len(key)) if key[:depth] in files), None)
        if inside:
            problem = f"a hostile archive: {'/'.join(inside)!r} is a file and a folder"
            raise bad_input(problem, file=archive, value="/".join(key))


def _key(name: str) -> tuple[str, ...]:
    """Parts of a name; equal where some system takes two names for one: they differ in case or Unicode form."""
    form = unicodedata.normalize
    return tuple(form("NFC", form("NFC", part).casefold()) for part in name.rstrip("/").split("/"))


def _names(member: zipfile.ZipInfo) -> set[str]:
    """As it stands in the archive, and as zipfile reads it: cut at a NUL, or replaced by a second one."""
    return {member.orig_filename, member.filename}


def _any_part(member: zipfile.ZipInfo, pattern: re.Pattern[str]) -> bool:
    parts = (part for name in _names(member) for part in re.split(r"[/\\]", name.removesuffix("/")))
    return any(pattern.fullmatch(part) for part in parts)


def _unpacks_hugely(member: zipfile.ZipInfo) -> bool:
    return member.file_size > max(SMALL, MAX_RATIO * member.compress_size)


_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
_OUT = re.compile(r"\.\.")
_IMPOSSIBLE = re.compile(r"\.?|.*[\x00-\x1f\x7f:].*|.*[. ]", re.DOTALL)
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.DOTALL | re.I)
"""Names that mean a device on Windows, whatever their ending."""

PROBLEMS: dict[str, Callable[[zipfile.ZipInfo], object]] = {
    "an absolute path": lambda one: any(map(_ABSOLUTE.match, _names(one))),
    "a path that leads out of its place": lambda one: _any_part(one, _OUT),
    "an impossible name": lambda one: _any_part(one, _IMPOSSIBLE) or "\\" in one.orig_filename + one.filename,
    "a name that is too long": lambda one: any(len(name.encode()) > LONGEST for name in _names(one)),
    "a name that Windows keeps for a device": lambda one: _any_part(one, _DEVICE),
    "a link or a device": lambda one: stat.S_IFMT(one.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR),
    "an encrypted file": lambda one: one.flag_bits & 1,
    "a compression that no picture needs": lambda one: one.compress_type not in COMPRESSIONS,
    f"a file that unpacks to more than {MAX_RATIO} times its size": _unpacks_hugely,
}
