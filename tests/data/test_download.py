"""Downloads by curl from a local server: interrupted, redirected, refused, wrong; never a byte not the file's."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from fne.data.download import download
from fne.utils.errors import UserError
from tests.data.http_server import Server, answer, properly, says, serve, until

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(700_000)
SIZE = len(CONTENT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of CONTENT that behaves well unless its script says otherwise."""
    monkeypatch.setenv("no_proxy", "*")
    made = Server(CONTENT, acts=[properly])
    http = serve(made)
    yield made
    http.shutdown()
    http.server_close()


class Place:
    """Where a download goes."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "deep" / "pictures.zip"
        self.part = self.target.with_name("pictures.zip.part")

    def has_part(self, content: bytes) -> None:
        self.part.parent.mkdir(exist_ok=True)
        self.part.write_bytes(content)

    def get(self, server: Server) -> None:
        download(server.url, self.target, size=SIZE, timeout=5)

    def complete(self) -> bool:
        left = sorted(path.name for path in self.target.parent.iterdir())
        return self.target.read_bytes() == CONTENT and left == ["pictures.zip"]

    def fails(self, server: Server, message: str) -> str:
        with pytest.raises(UserError, match=message) as caught:
            self.get(server)
        assert not self.target.exists() and server.url in str(caught.value)
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_plain_download_needs_no_settings_of_the_user(
    server: Server, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".curlrc").write_text("user-agent = x\nrange = 0-5\n")
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    place.get(server)
    assert place.complete() and server.ranges() == [None]


def test_curl_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="https://x/y.zip: .*the program `curl` is not on the PATH; install it: .conda"):
        download("https://x/y.zip", tmp_path / "y.zip", size=9)
    assert not list(tmp_path.iterdir())


def test_interrupted_twice_each_part_is_asked_for_once(server: Server, place: Place) -> None:
    server.acts = [until(100_000), until(450_000), properly]
    place.get(server)
    assert place.complete() and server.ranges() == [None, "bytes=100000-", "bytes=450000-"]


@pytest.mark.parametrize("first", [300_000, SIZE])
def test_what_an_earlier_call_received_is_continued(server: Server, place: Place, first: int) -> None:
    place.has_part(CONTENT[:first])
    place.get(server)
    assert place.complete() and server.ranges() == ([f"bytes={first}-"] if first < SIZE else [])


def test_a_server_that_cannot_continue_starts_over(server: Server, place: Place) -> None:
    place.has_part(b"x" * 300_000)
    server.acts = [lambda handler, content: answer(handler, 200, content)]
    place.get(server)
    assert place.complete() and server.ranges() == ["bytes=300000-", None]


def test_redirects_are_followed_but_not_to_another_kind_of_address(server: Server, place: Place) -> None:
    server.acts = [says(302, Location="/mirror/other.zip?token=1"), properly]
    place.get(server)
    assert place.complete() and server.requests[1][0] == "/mirror/other.zip?token=1"
    place.target.unlink()
    server.acts = [says(302, Location="file:///etc/passwd")]
    place.fails(server, "curl could not download it .exit code 1.; .*0 bytes are kept in .*the same command continues")


@pytest.mark.parametrize("status", [403, 404])
def test_refusals_are_final_and_keep_what_came(server: Server, place: Place, status: int, capfd) -> None:
    place.has_part(CONTENT[:77])
    server.acts = [says(status, b"<html>gone</html>", Content_Type="text/html")]
    place.fails(server, "curl could not download it .exit code 22.; .*77 bytes are kept")
    assert len(server.requests) == 1 and str(status) in capfd.readouterr().err and place.part.stat().st_size == 77


@pytest.mark.parametrize("body", [b"<html>sign in</html>", CONTENT[:-1]])
def test_another_file_in_its_place_is_dropped(server: Server, place: Place, body: bytes) -> None:
    server.acts = [says(200, body)]
    place.fails(server, rf"another length; got {len(body)}; allowed: {SIZE}")
    assert not place.part.exists()


def test_no_space_on_the_disk(server: Server, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, SIZE - 1))
    with pytest.raises(UserError, match="no space for the rest of the download: 0.0 GB needed"):
        place.get(server)
    assert not server.requests
    place.has_part(CONTENT[:10])
    place.get(server)  # ten bytes fewer are needed now
    assert place.complete()


def test_two_programs_at_once(server: Server, place: Place) -> None:
    place.part.parent.mkdir()
    with FileLock(f"{place.part}.lock"), pytest.raises(UserError, match="pictures.zip.part: another program is down"):
        place.get(server)
    assert not server.requests and not place.part.exists()
    place.get(server)
    assert place.complete()
