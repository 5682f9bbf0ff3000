"""``fne fetch``: from a local server to a folder that `fne prepare` takes; every step may be interrupted."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from fne import cli
from fne.data.sources import SOURCES, Archive, Source
from fne.steps import fetch
from fne.study.model import DATASETS
from fne.utils.errors import UserError
from tests.data.http_server import Server, properly, says, serve, until

LONG = b"jpeg" * 5000


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return made.getvalue()


FILES = {
    "caption_datasets.zip": zipped(dataset_coco_dot_json=b"{}", dataset_flickr8k_dot_json=b"[]"),
    "train2014.zip": zipped(train2014__a_dot_jpg=LONG, train2014__b_dot_jpg=b"b"),
    "val2014.zip": zipped(val2014__c_dot_jpg=b"c"),
}


class Corpus:
    """The corpus ``coco`` on a local server, and a folder for it."""

    def __init__(self, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.folder = server, folder
        base = server.url.rpartition("/")[0]
        archives = [
            Archive(f"{base}/{item.name}", len(FILES[item.name]), hashlib.sha256(FILES[item.name]).hexdigest(),
                    item.member, item.target)
            for item in SOURCES["coco"].archives
        ]  # fmt: skip
        monkeypatch.setitem(fetch.SOURCES, "coco", Source("ask us", tuple(archives)))
        self.archives = {item.name: item for item in archives}

    def get(self, only: str | None = None) -> str:
        return fetch.run("coco", self.folder, only)

    def files(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}

    def asked(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _ in self.server.requests]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server(acts=[lambda handler, _: properly(handler, FILES[handler.path.rpartition("/")[2]])])
    http = serve(server)
    yield Corpus(server, tmp_path / "coco", monkeypatch)
    http.shutdown()
    http.server_close()


UNPACKED = {"dataset_coco.json", "images/train2014/a.jpg", "images/train2014/b.jpg", "images/val2014/c.jpg"}
KEPT = {"downloads/SHA256SUMS", *(f"downloads/{name}" for name in FILES)}


def test_everything_arrives(corpus: Corpus) -> None:
    said = corpus.get()
    assert said == f"annotations={corpus.folder}/dataset_coco.json\nimages={corpus.folder}/images"
    assert corpus.files() == UNPACKED | KEPT
    sums = fetch.recorded_sums(corpus.folder / "downloads/SHA256SUMS")
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.mark.parametrize("dataset", ["flickr8k", "flickr30k"])
def test_images_that_may_not_be_downloaded(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{dataset}: its images may not be downloaded; .*University of Illinois"):
        fetch.run(dataset, tmp_path, "images")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_fetch_continues(corpus: Corpus) -> None:
    good = corpus.server.acts[0]
    corpus.server.acts = [good, lambda handler, _: until(9000)(handler, FILES["train2014.zip"]), says(404)]
    with pytest.raises(UserError, match="exit code 22"):
        corpus.get()
    assert corpus.files() == {"dataset_coco.json", "downloads/caption_datasets.zip", "downloads/SHA256SUMS",
                              "downloads/train2014.zip.part", "downloads/train2014.zip.part.lock"}  # fmt: skip
    corpus.server.requests.clear()
    corpus.server.acts = [good]
    corpus.get()
    assert corpus.files() == UNPACKED | KEPT
    assert corpus.server.ranges() == ["bytes=9000-", None]


def test_a_damaged_archive(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(FILES["train2014.zip"])
    damaged[5000] ^= 1
    corpus.server.acts = [lambda handler, _: properly(handler, bytes(damaged))]
    monkeypatch.setattr(fetch, "unpack", lambda *_: pytest.fail("unpacked before its sum was compared"))
    message = "train2014.zip: another SHA-256 than the one known; got .*fetch it again"
    with pytest.raises(UserError, match=message) as error:
        corpus.get("images")
    assert hashlib.sha256(damaged).hexdigest() in str(error.value)
    assert corpus.files() == {"downloads/train2014.zip"}


def test_no_room_is_told_before_the_first_request(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, needed = namedtuple("usage", "total used free"), 2 * sum(map(len, FILES.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed - 1))
    with pytest.raises(UserError, match="no space for coco and its archives"):
        corpus.get()
    assert not corpus.asked()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed))
    corpus.get()


def test_the_command(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fetch", "coco", "--into", str(corpus.folder), "--only", "annotations"]) == 0
    assert capsys.readouterr().out.startswith(f"annotations={corpus.folder}/dataset_coco.json\n")
    corpus.server.acts = [says(403)]
    assert cli.main(["fetch", "coco", "--into", str(corpus.folder)]) == 2
    summary = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"error: http://127.*/train2014.zip: curl could not download it .exit code 22.", summary)


def test_the_table_of_sources() -> None:
    assert set(SOURCES) == {name for name, kind in DATASETS.items() if kind == "corpus"} - {"custom"}
    for dataset, source in SOURCES.items():
        assert source.archives[0].target == f"dataset_{dataset}.json"
        for archive in source.archives:
            assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256) and archive.url.endswith(f"/{archive.name}")
            assert archive.url.startswith(("https://cs.stanford.edu/", "http://images.cocodataset.org/zips/"))
