"""Unpacking: what is sound arrives whole, what is hostile or damaged leaves no trace."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import warnings
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from fne.data import archive as module
from fne.data.archive import unpack
from fne.utils.errors import UserError

PICTURE = np.random.default_rng(1).bytes(50_000)


def packed(folder: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """A zip file of these members beside a folder of pictures."""
    path = folder / "pictures.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")
        made.writestr("train2014/", b"")
        made.writestr("train2014/a.jpg", PICTURE)
        made.writestr("train2014/sub/b.jpg", PICTURE[::-1])
        for name, content in members:
            made.writestr(name, content)
    return path


def refused(path: Path, message: str, member: str = "train2014") -> str:
    """Unpacking fails with one error, and nothing is left beside the archive."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        unpack(path, member, path.parent / "images" / "train2014")
    left = [place for place in sorted(path.parent.rglob("*")) if place not in before]
    assert left in ([], [path.parent / "images"])
    assert str(path) in str(caught.value)
    return str(caught.value)


def special(name: str, mode: int, **more: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in more.items():
        setattr(info, key, value)
    return info


def raw_name(path: Path, placeholder: str, name: bytes) -> Path:
    """Write into the archive's directories a name that zipfile would not."""
    assert len(placeholder) == len(name)
    content = path.read_bytes()
    assert content.count(placeholder.encode()) == 2
    path.write_bytes(content.replace(placeholder.encode(), name))
    return path


def test_a_folder_arrives_whole(tmp_path: Path) -> None:
    path, target = packed(tmp_path, ("val2014/c.jpg", b"not wanted")), tmp_path / "images" / "train2014"
    unpack(path, "train2014", target)
    assert sorted(place.relative_to(tmp_path).as_posix() for place in tmp_path.rglob("*") if place.is_file()) == [
        "images/train2014/a.jpg", "images/train2014/sub/b.jpg", "pictures.zip"
    ]  # fmt: skip
    assert (target / "a.jpg").read_bytes() == PICTURE and (target / "sub/b.jpg").read_bytes() == PICTURE[::-1]


def test_a_single_file_arrives(tmp_path: Path) -> None:
    path = packed(tmp_path, ("dataset_coco.json", b"{}"), ("dataset_coco.json.txt", b"no"))
    unpack(path, "dataset_coco.json", tmp_path / "dataset_coco.json")
    assert (tmp_path / "dataset_coco.json").read_bytes() == b"{}"
    assert not list(tmp_path.glob(".*"))


def test_names_like_files_of_the_web_are_fine(tmp_path: Path) -> None:
    path = packed(tmp_path, ("train2014/a..b.jpg", b"x"), ("train2014/.b", b"x"), ("train2014/Ünï cödé.jpg", b"x"),
                  ("train2014/console.jpg", b"x"), ("train2014/com10.x", b"x"), ("train2014/~a (1) & 'b'.jpg", b"x"),
                  ("train2014/2².jpg", b"x"), ("train2014/22.jpg", b"x"))  # fmt: skip
    unpack(path, "train2014", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 10


@pytest.mark.parametrize("name", ["/etc/passwd", "C:evil.jpg", "c:/evil.jpg", "//host/share/x", "//?/C:/x", "/"])
def test_absolute_paths(tmp_path: Path, name: str) -> None:
    refused(packed(tmp_path, (name, b"x")), "hostile archive: an absolute path")


@pytest.mark.parametrize("name", ["../x", "train2014/../../x", "train2014/..", "a/../b"])
def test_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    refused(packed(tmp_path, (name, b"x")), "hostile archive: a path that leads out of its place; got '.*\\.\\.")


@pytest.mark.parametrize(
    "name",
    [
        "train2014//tmp/x",
        "train2014///x",
        "train2014//",
        "train2014/./x",
        "./train2014/x",
        "train2014/x/.",
        "train2014/C:/x",
        "train2014/c:x",
        "train2014/a.jpg:stream",
        "train2014/x.",
        "train2014/x ",
        "train2014/sub./x",
        "train2014/...",
        "train2014/.. /x",
        "train2014/ /x",
        "train2014/\x1b[2J",
        "train2014/\x7f",
    ],
)
def test_names_that_are_another_place_on_some_system(tmp_path: Path, name: str) -> None:
    refused(packed(tmp_path, (name, b"x")), "hostile archive: an impossible name")


@pytest.mark.parametrize(
    "name", ["nul", "CON", "train2014/aux.jpg", "Com1/x", "lpt9.tar.gz", "train2014/prn .x", "com¹", "conin$"]
)
def test_names_of_devices(tmp_path: Path, name: str) -> None:
    refused(packed(tmp_path, (name, b"x")), "hostile archive: a name that Windows keeps for a device")


def test_long_names(tmp_path: Path) -> None:
    refused(packed(tmp_path, (f"train2014/{'ü' * 123}", b"x")), "hostile archive: a name that is too long")


def test_the_last_word_on_where_a_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a single check of names nothing is written outside."""
    monkeypatch.setattr(module, "PROBLEMS", {})
    refused(packed(tmp_path, ("train2014/../x", b"x")), "leads out of its place")
    outside = tmp_path / "outside"
    unpack(packed(tmp_path, (f"train2014/{outside}", b"x")), "train2014", tmp_path / "out")
    assert not outside.exists() and (tmp_path / f"out/{outside}").is_file()


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_compressions(tmp_path: Path, kind: int) -> None:
    path = packed(tmp_path)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("train2014/x", b"x", kind)
    refused(path, "hostile archive: a compression that no picture needs")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"\\windows\\x", "an absolute path"),
        (b"a\\..\\..\\x..", "leads out"),
        (b"a\\b.jpg....", "impossible name"),
        (b"good.jpg\0/..", "leads out"),
        (b"good.jpg\0exe", "impossible name"),
        (b"good\n.jpg...", "impossible name"),
    ],
)
def test_names_that_only_a_hand_made_archive_has(tmp_path: Path, name: bytes, message: str) -> None:
    name = name.ljust(12, b"x")[:12]
    refused(raw_name(packed(tmp_path, ("placeholder!", b"x")), "placeholder!", name), f"hostile archive: .*{message}")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(tmp_path: Path, mode: int) -> None:
    refused(packed(tmp_path, (special("train2014/l", mode | 0o777), b"/etc/passwd")), "archive: a link or a device")


def test_modes_of_plain_files_and_folders_pass(tmp_path: Path) -> None:
    path = packed(
        tmp_path,
        (special("train2014/c.jpg", stat.S_IFREG | 0o6755), b"x"),
        (special("train2014/sub2/", stat.S_IFDIR | 0o755), b""),
    )
    unpack(path, "train2014", tmp_path / "out")
    assert (tmp_path / "out/c.jpg").stat().st_mode & 0o7111 == 0, "modes of the archive are not taken over"


def test_names_that_occur_twice(tmp_path: Path) -> None:
    refused(packed(tmp_path, ("train2014/a.jpg", b"x")), "a name occurs twice; got 'train2014/a.jpg'")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train2014/b.jpg", "Train2014/B.JPG"),
        ("train2014/ü", "train2014/u\u0308"),
        ("train2014/Ü", "train2014/u\u0308"),
        ("train2014/straße", "train2014/STRASSE"),
        ("train2014/b", "train2014/b/"),
        ("train2014/b/", "train2014/B/"),
        ("train2014/\u212a", "train2014/k"),
    ],
)
def test_names_that_are_one_file_on_some_system(tmp_path: Path, one: str, other: str) -> None:
    refused(packed(tmp_path, (one, b"x"), (other, b"y")), f"a name occurs twice; got '{other}'")


def test_a_name_that_is_a_file_and_a_folder(tmp_path: Path) -> None:
    refused(packed(tmp_path, ("train2014/a.jpg/x", b"x")), "'train2014/a.jpg' is a file and a folder")
    refused(packed(tmp_path, ("train2014/A.JPG/x", b"x")), "'train2014/a.jpg' is a file and a folder")


def test_encrypted_files(tmp_path: Path) -> None:
    path = packed(tmp_path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 8  # the flags of the first entry of the directory
    content[at] |= 1
    path.write_bytes(content)
    refused(path, "an encrypted file; got 'train2014/'")


def test_a_bomb_of_one_file(tmp_path: Path) -> None:
    path = packed(tmp_path, ("train2014/zeros", bytes(module.SMALL * 30)))
    assert path.stat().st_size < 200_000
    refused(path, "a file that unpacks to more than 100 times its size; got 'train2014/zeros'")


def test_a_bomb_of_many_files(tmp_path: Path) -> None:
    path = packed(tmp_path, *[(f"train2014/{number}", bytes(module.SMALL)) for number in range(30)])
    refused(path, "more than 100 times its own size is in it")


def test_a_bomb_whose_files_share_their_bytes(tmp_path: Path) -> None:
    """All entries of the directory point at one stored member."""
    path, inner = tmp_path / "pictures.zip", bytes(800_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        made.writestr("train2014/000.jpg", inner)
        first = made.infolist()[0]
        for number in range(1, 200):
            copy = zipfile.ZipInfo(f"train2014/{number:03d}.jpg")
            for name in ("CRC", "compress_size", "file_size", "header_offset", "create_system"):
                setattr(copy, name, getattr(first, name))
            made.filelist.append(copy)
            made.NameToInfo[copy.filename] = copy
    refused(path, "more than 100 times its own size|not a sound zip archive")


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    refused(packed(tmp_path), "too many files; got 3")


def test_a_size_that_lies(tmp_path: Path) -> None:
    """The directory states fewer bytes than the member unpacks to."""
    path = packed(tmp_path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4) + 24  # uncompressed size of a.jpg
    assert struct.unpack_from("<I", content, at)[0] == len(PICTURE)
    struct.pack_into("<I", content, at, 100)
    path.write_bytes(content)
    refused(path, "not a sound zip archive")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_short(tmp_path: Path, share: float) -> None:
    path = packed(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "not a sound zip archive .*remove it and fetch it again")


def test_cut_in_front(tmp_path: Path) -> None:
    path = packed(tmp_path)
    path.write_bytes(path.read_bytes()[1:])
    refused(path, "not a sound zip archive .a file lies outside it")


def test_a_flipped_bit(tmp_path: Path) -> None:
    path = packed(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"train2014/a.jpg") + 30_000] ^= 4
    path.write_bytes(content)
    refused(path, "not a sound zip archive")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Sign in", b"\n<html>\n<head>", b"\xef\xbb\xbf<!doctype HTML>"])
def test_a_web_page(tmp_path: Path, page: bytes) -> None:
    path = tmp_path / "pictures.zip"
    path.write_bytes(page)
    refused(path, r"is a web page \(HTML\), not an archive")


def test_another_kind_of_archive(tmp_path: Path) -> None:
    made = shutil.make_archive(str(tmp_path / "pictures"), "gztar", tmp_path)
    path = Path(made).rename(tmp_path / "pictures.zip")
    refused(path, "not a sound zip archive")


def test_a_member_that_is_not_there(tmp_path: Path) -> None:
    refused(packed(tmp_path), "is not in the archive; got 'train2015'; did you mean 'train2014'", member="train2015")


def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, usage = packed(tmp_path), namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * len(PICTURE) - 1))
    with pytest.raises(UserError, match="no room for what pictures.zip holds"):
        unpack(path, "train2014", tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * len(PICTURE)))
    unpack(path, "train2014", tmp_path / "out")


def test_an_archive_in_an_archive_is_a_file(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("../x", b"x")
    unpack(packed(tmp_path, ("train2014/inner.zip", inner.getvalue())), "train2014", tmp_path / "out")
    assert (tmp_path / "out/inner.zip").read_bytes() == inner.getvalue()
